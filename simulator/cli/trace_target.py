"""Where `flysim trace` sends its request: to an edge of the running simulator, and nowhere else.

A URL that was copied from production names the app by its host. The request then goes to an edge, with that name
as its Host: never to production itself.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from simulator.errors import InputError

_BARE_HOST = re.compile(r"(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-fA-F:.]+\])(:\d+)?([/?].*)?")
_SCHEMES = {"http": False, "https": False, "ws": True, "wss": True}
"""Scheme -> whether it asks for a WebSocket."""
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """A request's way: the edge, and what its client would call it."""

    edge: str
    url: str
    """At the edge: http or https."""
    host: str | None = None
    """The Host field, where it is not that of the edge's own URL."""
    is_websocket: bool = False

    @property
    def server_name(self) -> str | None:
        """For TLS."""
        return urlsplit(f"//{self.host}").hostname if self.host else None


def find_target(text: str, edges: Mapping[str, str], edge: str | None) -> Target:
    """`text` is a URL or a path, `edges` are those of the running simulator, `edge` the one asked for.

    Raises InputError for what is no URL, and for one of this computer where no edge is.
    """
    if edge is not None and edge not in edges:
        raise InputError(f"there is no edge {edge!r}", expected=f"one of {', '.join(edges)}")
    parts = _split(text)
    own = None if not parts.netloc else _edge_at(parts, edges)
    chosen = edge or own or next(iter(edges))
    if own is None and parts.netloc and _is_loopback(parts.hostname):
        known = ", ".join(f"{url} ({region})" for region, url in edges.items())
        raise InputError(
            f"no edge of the running simulator is at {parts.netloc}",
            expected=f"one of {known}; another simulator's by --control URL, or FLYSIM_CONTROL",
        )
    base = urlsplit(edges[chosen])
    scheme = "https" if parts.scheme in ("https", "wss") else "http"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(
        edge=chosen,
        url=f"{scheme}://{base.netloc}{path}",
        host=parts.netloc if parts.netloc and own is None else None,
        is_websocket=_SCHEMES.get(parts.scheme, False),
    )


def _split(text: str) -> SplitResult:
    if "://" not in text and _BARE_HOST.fullmatch(text):
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        is_right = bool(parts.hostname) and parts.scheme in _SCHEMES and parts.port != 0
    except ValueError:
        raise _no_url(text) from None
    if not (is_right if parts.scheme or parts.netloc else text.startswith("/")):
        raise _no_url(text)
    return parts


def _edge_at(parts: SplitResult, edges: Mapping[str, str]) -> str | None:
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    if not _is_loopback(parts.hostname):
        return None
    return next((region for region, url in edges.items() if urlsplit(url).port == port), None)


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _no_url(text: str) -> InputError:
    return InputError(
        f"{text!r} is not a URL that can be asked", expected="http://127.0.0.1:8080/path, or /path"
    )

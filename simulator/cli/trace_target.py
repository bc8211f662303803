"""Target of `flysim trace`: always an edge of the running simulator.

The request for a production URL goes to an edge too, with the URL's host in its Host header. It never goes to
production.
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
"""Scheme -> whether it is a WebSocket URL."""
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class Target:
    """The edge that gets the request, and the URL and Host header to send."""

    edge: str
    url: str
    """The URL at the edge, with the scheme http or https."""
    host: str | None = None
    """The Host header, if it is not the host of `url`."""
    is_websocket: bool = False

    @property
    def server_name(self) -> str | None:
        """The name for TLS SNI."""
        return urlsplit(f"//{self.host}").hostname if self.host else None


def find_target(text: str, edges: Mapping[str, str], edge: str | None) -> Target:
    """Choose the edge for `text`, a URL or a path.

    `edges` maps region to base URL, `edge` is the region given with --edge. Raises InputError for an invalid URL, and
    for a loopback address that is not an edge.
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
            expected=f"one of {known}; for another simulator add --control URL or set FLYSIM_CONTROL",
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
        is_valid = bool(parts.hostname) and parts.scheme in _SCHEMES and parts.port != 0
    except ValueError:
        raise _invalid_url(text) from None
    if not (is_valid if parts.scheme or parts.netloc else text.startswith("/")):
        raise _invalid_url(text)
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


def _invalid_url(text: str) -> InputError:
    return InputError(
        f"{text!r} is not a URL", expected="a URL such as http://127.0.0.1:8080/path, or a path such as /path"
    )

"""Lets in only what comes from this machine and from no foreign web page.

A page from elsewhere can make a browser send requests to loopback: by a name of its own that resolves to
127.0.0.1 (told by Host), or straight across origins (told by Origin and Sec-Fetch-Site, which scripts cannot set).
"""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator.dashboard.responses import error_response

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})


class LoopbackGuard:
    """ASGI middleware: 403, in words, to everything else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = find_refusal(scope["method"], Headers(scope=scope))
        if refusal:
            await error_response(403, refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def find_refusal(method: str, headers: Headers) -> str | None:
    """Why a request is not answered; None if it is."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        named = ", ".join(hosts) or "nothing"
        return f"Host is {named}; this answers only to 127.0.0.1, localhost and [::1]"
    if method in _READING:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
        return f"another web page, {origin}, asks for a change; only this one's own may"
    if site not in (None, "same-origin", "none"):
        return f"another web page asks for a change (Sec-Fetch-Site: {site}); only this one's own may"
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host names loopback: localhost, 127.0.0.0/8 or [::1], with any port."""
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match[1].lower()
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback and (name.startswith("[") == (address.version == 6))

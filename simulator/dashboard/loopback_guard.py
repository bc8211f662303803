"""Protection of the control API against requests from foreign web pages.

A web page can make a browser send requests to loopback in two ways: by DNS rebinding, with a name that resolves to
127.0.0.1 (the Host header shows it), or across origins (Origin and Sec-Fetch-Site show it; scripts cannot set these).
"""

from __future__ import annotations

import ipaddress
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator.dashboard.responses import error_response

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:\[\]]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class LoopbackGuard:
    """ASGI middleware that responds to such requests with 403 and the reason."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        problem = find_problem(scope["method"], Headers(scope=scope))
        if problem:
            await error_response(403, problem)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def find_problem(method: str, headers: Headers) -> str | None:
    """Why the request is refused; None if it is allowed."""
    hosts = headers.getlist("host")
    if len(hosts) != 1 or not is_loopback(hosts[0]):
        named = ", ".join(hosts) or "nothing"
        return f"Host is {named}; expected 127.0.0.1, localhost or [::1]"
    if method in _SAFE_METHODS:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() != f"http://{hosts[0].lower()}":
        return f"another web page may not change anything (Origin: {origin})"
    if site not in (None, "same-origin", "none"):
        return f"another web page may not change anything (Sec-Fetch-Site: {site})"
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host header names loopback: localhost, 127.0.0.0/8 or [::1], with any port."""
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

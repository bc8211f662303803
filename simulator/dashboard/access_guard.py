"""Access control of the control API: loopback or token, and no requests that a foreign web page causes.

A connection from loopback to 127.0.0.1 or [::1] needs no token. Every other connection does, whatever its headers say:
it exists only if `--control-listen` has opened the API. The token is in `Authorization: Bearer` (RFC 6750), or in a
cookie that the page's link, `/?token=TOKEN`, sets.

A web page can make a browser send requests here in two ways: by DNS rebinding, with a name that resolves to 127.0.0.1
(the Host header shows it), or across origins (Origin and Sec-Fetch-Site show it; scripts cannot set these).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from simulator.dashboard.responses import Refusal

_HOST = re.compile(r"(\[[0-9a-f:]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", re.IGNORECASE)
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_LISTENERS = ("127.0.0.1", "::1")
_EXPECTED_TOKEN = (
    "expected: Authorization: Bearer TOKEN, or the page's link, /?token=TOKEN; "
    "flysim prints both when it starts with --control-listen"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is refused: 401 without a valid token, otherwise 403."""

    status: int
    text: str


class AccessGuard:
    """ASGI middleware. `token` None: nothing but loopback is allowed."""

    def __init__(self, app: ASGIApp, token: str | None = None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers, app = Headers(scope=scope), self._app
        given = _token_in_link(scope)
        is_valid = given is not None and _equal(given, self._token)
        problem = None if is_valid and not is_local(scope) else find_problem(scope, headers, self._token)
        if problem:
            more = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
            app = Refusal(headers, problem.status, problem.text, more)
        elif given is not None:
            app = self._redirect(scope, headers, sign_in=is_valid)
        await app(scope, receive, send)

    def _redirect(self, scope: Scope, headers: Headers, *, sign_in: bool) -> Response:
        """To the page without the token, which therefore stays neither in the address bar nor in a Referer."""
        response = RedirectResponse("/", 303)
        if sign_in and self._token is not None:
            value = cookie_value(self._token, scope)
            response.set_cookie(cookie_name(headers), value, httponly=True, samesite="strict")
        return response


def find_problem(scope: Scope, headers: Headers, token: str | None) -> Problem | None:
    """None if the request is allowed."""
    hosts = headers.getlist("host")
    if len(hosts) != 1:
        return Problem(403, f"Host is {', '.join(hosts) or 'nothing'}; expected one name")
    if is_local(scope):
        if not is_loopback(hosts[0]):
            return Problem(403, f"Host is {hosts[0]}; expected 127.0.0.1, localhost or [::1]")
    elif not _has_token(scope, headers, token):
        sends_token = _sends_token(headers) or _token_in_link(scope) is not None
        named = "the token is not the one of this simulator" if sends_token else "there is no token"
        return Problem(401, f"{named}; {_EXPECTED_TOKEN}")
    return _find_foreign_page(scope["method"], headers, hosts[0])


def _find_foreign_page(method: str, headers: Headers, host: str) -> Problem | None:
    if method in _SAFE_METHODS:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin.lower() != f"http://{host.lower()}":
        return Problem(403, f"another web page may not change anything (Origin: {origin})")
    if site not in (None, "same-origin", "none"):
        return Problem(403, f"another web page may not change anything (Sec-Fetch-Site: {site})")
    return None


def is_local(scope: Scope) -> bool:
    """Whether both ends of the connection are on loopback, and ours is the address that flysim always listens on.

    Headers play no part. If flysim listens on all addresses, the address that the client has connected to decides.
    """
    client, server = scope.get("client"), scope.get("server")
    if client is None or server is None or server[0] not in _LOOPBACK_LISTENERS:
        return False
    return ipaddress.ip_address(client[0]).is_loopback


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


def cookie_name(headers: Headers) -> str:
    """Its name has the port, because a browser sends the cookies of all ports of a host to each of them."""
    match = _HOST.fullmatch(headers.get("host", ""))
    return f"flysim-control-{match[2] if match and match[2] else '80'}"


def cookie_value(token: str, scope: Scope) -> str:
    """A proof of the token that is valid for this client's address only.

    The browser also sends the cookie to the edges, if they have the same host name, so the apps see it. They can
    neither compute the token from it nor use it from their own addresses.
    """
    address: str = scope["client"][0] if scope.get("client") else ""
    return hmac.new(token.encode(), address.encode(), hashlib.sha256).hexdigest()


def _token_in_link(scope: Scope) -> str | None:
    """The token of `GET /?token=TOKEN`; None for every other request."""
    if scope["path"] != "/" or scope["method"] not in ("GET", "HEAD"):
        return None
    found = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).get("token")
    return found[-1] if found else None


def _has_token(scope: Scope, headers: Headers, token: str | None) -> bool:
    if token is None:
        return False
    authorizations = headers.getlist("authorization")
    if authorizations:
        scheme, _, given = authorizations[0].partition(" ")
        return len(authorizations) == 1 and scheme.lower() == "bearer" and _equal(given.strip(" "), token)
    cookie = _cookies(headers).get(cookie_name(headers), "")
    return _equal(cookie, cookie_value(token, scope))


def _sends_token(headers: Headers) -> bool:
    return "authorization" in headers or cookie_name(headers) in _cookies(headers)


def _cookies(headers: Headers) -> dict[str, str]:
    return cookie_parser("; ".join(headers.getlist("cookie")))


def _equal(given: str, expected: str | None) -> bool:
    """In constant time."""
    return expected is not None and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())

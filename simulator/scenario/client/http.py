"""HTTP client of a scenario: a cookie jar, a default edge, and persistent connections.

Every connection goes to an edge of the simulator, whatever host the URL names, as if all names resolved to it.
`CookieJar` handles the cookies, not httpx. Nothing is read from the environment (no proxies, no netrc).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import cookiejar
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from simulator.clock import Clock
from simulator.errors import InputError
from simulator.results import ClientResponse
from simulator.scenario.client.cookie_jar import CookieJar

MAX_REDIRECTS = 20
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """A request to send. `target` is a path or a URL."""

    method: str
    target: str
    headers: Headers = ()
    content: bytes | None = None
    follow_redirects: bool = False
    timeout_seconds: float = 30.0

    @property
    def title(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """The URL as the client sees it, and the URL of the edge that the connection goes to."""

    url: str
    connect_url: str

    @property
    def host_header(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme in {"https", "wss"}


def resolve_target(target: str, edge_url: str, *, host: str | None = None) -> ResolvedTarget:
    """Resolve a path or a URL to an edge. `host`: the value of a `Host` header that replaces the host of the edge."""
    edge = urlsplit(edge_url)
    if "://" in target:
        parts = urlsplit(target)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        return ResolvedTarget(target, f"{parts.scheme}://{edge.netloc}{path}")
    return ResolvedTarget(f"{edge.scheme}://{host or edge.netloc}{target}", f"{edge_url.rstrip('/')}{target}")


def find_header(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def trust_all_tls_context() -> ssl.SSLContext:
    """Return a TLS context without verification: edges are on loopback, with certificates that flysim generates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _disabled_cookie_jar() -> cookiejar.CookieJar:
    return cookiejar.CookieJar(cookiejar.DefaultCookiePolicy(allowed_domains=[]))


@dataclass
class Client:
    name: str
    edge: str
    clock: Clock
    headers: dict[str, str] = field(default_factory=dict)
    cookie_jar: CookieJar = field(default_factory=CookieJar)
    _http: httpx.AsyncClient | None = None

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    def merge_headers(self, own: Headers) -> list[tuple[str, str]]:
        """Return the headers of the client, overridden by those of one request."""
        named = {key.lower() for key, _ in own}
        return [pair for pair in self.headers.items() if pair[0].lower() not in named] + list(own)

    def cookie_headers(self, url: str, headers: Headers) -> list[tuple[str, str]]:
        """Return the `Cookie` header for `url`; none if the request has one of its own."""
        if find_header(headers, "cookie") is not None:
            return []
        value = self.cookie_jar.header_for(url, self.clock.now())
        return [("Cookie", value)] if value else []

    def store_cookies(self, response: ClientResponse, url: str) -> None:
        """Store the cookies that a response sets."""
        for value in response.header_values("set-cookie"):
            self.cookie_jar.store(value, url, self.clock.now())

    def record_sent_cookies(self, response: ClientResponse, url: str) -> None:
        """Record in `response` which cookies the client sends to `url` now, and which it withholds."""
        now = self.clock.now()
        response.cookies_sent = tuple(cookie.name for cookie in self.cookie_jar.cookies_for(url, now))
        response.withheld = self.cookie_jar.withheld(url, now)

    async def request(self, request: ClientRequest, edge_url: str) -> ClientResponse:
        """Send a request. Timeouts and disconnects are not raised: they are in the response."""
        headers = self.merge_headers(request.headers)
        response = ClientResponse(request.title)
        started = self.clock.now()
        try:
            async with asyncio.timeout(request.timeout_seconds):
                await self._send_following_redirects(request, headers, edge_url, response)
        except TimeoutError:
            response.failure, response.failure_text = (
                "timeout",
                f"no response within {request.timeout_seconds:g} s",
            )
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError) as error:
            raise InputError(f"cannot send {request.title}: {error}") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            text = str(error) or type(error).__name__
            response.failure, response.failure_text = "disconnect", f"the connection failed: {text}"
        response.elapsed_seconds = self.clock.now() - started
        return response

    async def _send_following_redirects(
        self, request: ClientRequest, headers: Headers, edge_url: str, response: ClientResponse
    ) -> None:
        target = resolve_target(request.target, edge_url, host=find_header(headers, "host"))
        method, content = request.method, request.content
        while True:
            await self._send(method, target, headers, content, response)
            location = next(iter(response.header_values("location")), None)
            if not request.follow_redirects or response.status not in _REDIRECTS or not location:
                return
            following = urljoin(target.url, location)
            if not _is_same_host(following, target.url):
                response.not_followed = f"{following} is on another host"
                return
            if response.redirects == MAX_REDIRECTS:
                response.not_followed = f"the limit is {MAX_REDIRECTS} redirects, as in browsers"
                return
            response.redirects += 1
            target = resolve_target(following, edge_url)
            if response.status == 303 or (response.status in {301, 302} and method == "POST"):
                method, content = "GET", None
                headers = [pair for pair in headers if not pair[0].lower().startswith("content-")]

    async def _send(
        self,
        method: str,
        target: ResolvedTarget,
        headers: Headers,
        content: bytes | None,
        response: ClientResponse,
    ) -> None:
        self.record_sent_cookies(response, target.url)
        fields = [pair for pair in headers if pair[0].lower() != "host"]
        fields = [("Host", target.host_header), *fields, *self.cookie_headers(target.url, headers)]
        extensions: dict[str, Any] = {}
        if target.is_tls:
            extensions["sni_hostname"] = urlsplit(target.url).hostname
        http = self._open_http()
        http_request = http.build_request(
            method, target.connect_url, headers=fields, content=content, extensions=extensions
        )
        received = await http.send(http_request)
        response.status = received.status_code
        response.headers = tuple(received.headers.multi_items())
        response.body = received.content
        self.store_cookies(response, target.url)

    def _open_http(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(
                trust_env=False,
                timeout=None,
                follow_redirects=False,
                verify=trust_all_tls_context(),
                cookies=_disabled_cookie_jar(),
            )
        return self._http


def _is_same_host(url: str, before: str) -> bool:
    """Whether a redirect stays on the host. Others would leave the simulator."""
    return urlsplit(url).hostname == urlsplit(before).hostname

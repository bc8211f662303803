"""One visitor: a cookie jar, a nearest edge, and connections that stay open.

Every connection goes to an edge of the simulator, whatever host a URL names: as if all names in the world
resolved to it. Cookies are the jar's alone, and nothing is read from the environment (no proxies, no netrc).
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
class Call:
    """A request to be made."""

    method: str
    target: str
    headers: Headers = ()
    content: bytes | None = None
    follow: bool = False
    timeout_seconds: float = 30.0

    @property
    def title(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True)
class Destination:
    """The URL as the visitor sees it, and the edge's URL that the connection goes to."""

    url: str
    connect: str

    @property
    def host_field(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def is_tls(self) -> bool:
        return urlsplit(self.url).scheme in {"https", "wss"}


def find_destination(target: str, edge_url: str, *, host: str | None = None) -> Destination:
    """Where `target`, a path or a whole URL, leads through the edge; `host` is a Host field that was asked for."""
    edge = urlsplit(edge_url)
    if "://" in target:
        parts = urlsplit(target)
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        return Destination(target, f"{parts.scheme}://{edge.netloc}{path}")
    return Destination(f"{edge.scheme}://{host or edge.netloc}{target}", f"{edge_url.rstrip('/')}{target}")


def find_header(headers: Headers, name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def trusting_tls() -> ssl.SSLContext:
    """The edges are on loopback and their certificates are made on the spot: there is nobody to verify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _no_cookies() -> cookiejar.CookieJar:
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

    def all_headers(self, own: Headers) -> list[tuple[str, str]]:
        """The client's own header fields, under those of one request."""
        named = {key.lower() for key, _ in own}
        return [pair for pair in self.headers.items() if pair[0].lower() not in named] + list(own)

    def cookie_headers(self, url: str, headers: Headers) -> list[tuple[str, str]]:
        """The jar's `Cookie` field for `url`, unless a request brings its own."""
        if find_header(headers, "cookie") is not None:
            return []
        value = self.cookie_jar.header_for(url, self.clock.now())
        return [("Cookie", value)] if value else []

    def note_cookies(self, answer: ClientResponse, url: str) -> None:
        """Take in what an answer sets."""
        for value in answer.header_values("set-cookie"):
            self.cookie_jar.store(value, url, self.clock.now())

    def describe_cookies(self, answer: ClientResponse, url: str) -> None:
        """Write down which cookies go to `url` now, and which do not."""
        now = self.clock.now()
        answer.cookies_sent = tuple(cookie.name for cookie in self.cookie_jar.cookies_for(url, now))
        answer.withheld = self.cookie_jar.withheld(url, now)

    async def request(self, call: Call, edge_url: str) -> ClientResponse:
        """Never raises for what the network does: that is in the answer."""
        headers = self.all_headers(call.headers)
        answer = ClientResponse(call.title)
        started = self.clock.now()
        try:
            async with asyncio.timeout(call.timeout_seconds):
                await self._exchange(call, headers, edge_url, answer)
        except TimeoutError:
            answer.failure, answer.failure_text = "timeout", f"no answer within {call.timeout_seconds:g} s"
        except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeEncodeError) as error:
            raise InputError(f"{call.title} cannot be sent: {error}") from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            answer.failure, answer.failure_text = "disconnect", _transport_words(error)
        answer.elapsed_seconds = self.clock.now() - started
        return answer

    async def _exchange(self, call: Call, headers: Headers, edge_url: str, answer: ClientResponse) -> None:
        target = find_destination(call.target, edge_url, host=find_header(headers, "host"))
        method, content = call.method, call.content
        while True:
            await self._send(method, target, headers, content, answer)
            location = next(iter(answer.header_values("location")), None)
            if not call.follow or answer.status not in _REDIRECTS or not location:
                return
            following = urljoin(target.url, location)
            if not _is_ours(following, target.url):
                answer.not_followed = f"{following} leads out of the simulator"
                return
            if answer.redirects == MAX_REDIRECTS:
                answer.not_followed = f"{MAX_REDIRECTS} are the limit, as in browsers"
                return
            answer.redirects += 1
            target = find_destination(following, edge_url)
            if answer.status == 303 or (answer.status in {301, 302} and method == "POST"):
                method, content = "GET", None
                headers = [pair for pair in headers if not pair[0].lower().startswith("content-")]

    async def _send(
        self,
        method: str,
        target: Destination,
        headers: Headers,
        content: bytes | None,
        answer: ClientResponse,
    ) -> None:
        self.describe_cookies(answer, target.url)
        fields = [pair for pair in headers if pair[0].lower() != "host"]
        fields = [("Host", target.host_field), *fields, *self.cookie_headers(target.url, headers)]
        extensions: dict[str, Any] = {}
        if target.is_tls:
            extensions["sni_hostname"] = urlsplit(target.url).hostname
        http = self._open_http()
        request = http.build_request(
            method, target.connect, headers=fields, content=content, extensions=extensions
        )
        response = await http.send(request)
        answer.status = response.status_code
        answer.headers = tuple(response.headers.multi_items())
        answer.body = response.content
        self.note_cookies(answer, target.url)

    def _open_http(self) -> httpx.AsyncClient:
        if self._http is None:
            self._http = httpx.AsyncClient(
                trust_env=False,
                timeout=None,
                follow_redirects=False,
                verify=trusting_tls(),
                cookies=_no_cookies(),
            )
        return self._http


def _is_ours(url: str, before: str) -> bool:
    """Redirects to other hosts are not followed: they lead out of the simulator."""
    return urlsplit(url).hostname == urlsplit(before).hostname


def _transport_words(error: httpx.RequestError) -> str:
    return f"the connection failed: {str(error) or type(error).__name__}"

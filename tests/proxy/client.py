"""A raw HTTP/1 client on one connection."""

from __future__ import annotations

import ssl
from contextlib import suppress

from tests.proxy.wire import Message, Wire


def tls_context(protocol: str) -> ssl.SSLContext:
    """A TLS context without certificate checks. `protocol` is offered by ALPN."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def request(method: str = "GET", path: str = "/", headers: str = "", body: bytes | None = None) -> bytes:
    """The bytes of a request. `headers`: lines, each terminated by CRLF."""
    if body is not None:
        headers += f"content-length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: streams.fly.dev\r\n{headers}\r\n".encode() + (body or b"")


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


class Client(Wire):
    """The client's side of a connection to an edge."""

    async def fetch(
        self, method: str = "GET", path: str = "/", headers: str = "", body: bytes | None = None
    ) -> Message:
        await self.send(request(method, path, headers, body))
        return await self.read_response(method)

    async def read_response(self, method: str = "GET", *, until_close: bool = False) -> Message:
        response = await self.read_head()
        if method == "HEAD" or response.status in (101, 204, 304):
            return response
        return await self.read_body(response, until_close=until_close)

    async def is_closed(self) -> bool:
        """Whether the proxy closes the connection without sending anything."""
        return await self.read_to_end() == b""

    async def aclose(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

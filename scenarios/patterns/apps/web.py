"""Minimal web server for the example apps: HTTP/1.1, streams and WebSockets on the standard library.

    async def app(request: Request) -> Response | None: ...
    serve(app)

An app returns None after it has taken over the connection with `request.accept()` or `request.raw()`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from websocket import Socket, accept

MACHINE = os.environ["FLY_MACHINE_ID"]
REGION = os.environ["FLY_REGION"]
APP = os.environ["FLY_APP_NAME"]


class Request:
    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, _ = line.split(" ", 2)
        self.headers = {name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        url = urlsplit(self.target)
        self.path, self.query = url.path, dict(parse_qsl(url.query, keep_blank_values=True))
        pairs = (pair.partition("=") for pair in self.headers.get("cookie", "").split(";"))
        self.cookies = {name.strip(): value.strip() for name, _, value in pairs if name.strip()}
        self.host = self.headers.get("host", "").partition(":")[0].lower()
        self.body = b""
        self._reader, self._writer = reader, writer

    @property
    def is_upgrade(self) -> bool:
        return "upgrade" in self.headers

    def field(self, header: str, name: str) -> str | None:
        """One field of a header such as fly-replay-src, whose fields may be in any order (F-1.42)."""
        pairs = (pair.partition("=") for pair in self.headers.get(header, "").split(";"))
        return next((value for key, _, value in pairs if key.strip() == name), None)

    async def read_body(self) -> None:
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while size := int(await self._reader.readline(), 16):
                self.body += (await self._reader.readexactly(size + 2))[:size]
            await self._reader.readline()
        else:
            self.body = await self._reader.readexactly(int(self.headers.get("content-length", 0)))

    async def accept(self, headers: dict[str, str] | None = None) -> Socket:
        """Accepts the WebSocket."""
        return await accept(self.headers["sec-websocket-key"], headers or {}, self._reader, self._writer)

    async def raw(self, response: str) -> None:
        """Writes to the raw connection, as apps must whose framework upgrades automatically."""
        self._writer.write(response.encode())
        await self._writer.drain()


class Response:
    def __init__(
        self,
        status: int,
        body: str | bytes | AsyncIterator[bytes] = b"",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.status, self.headers = status, headers or {}
        self.body = body.encode() if isinstance(body, str) else body

    async def write(self, writer: asyncio.StreamWriter) -> None:
        body, fields = self.body, dict(self.headers)
        fields |= (
            {"Content-Length": str(len(body))}
            if isinstance(body, bytes)
            else {"Transfer-Encoding": "chunked"}
        )
        lines = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            *(f"{k}: {v}" for k, v in fields.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if isinstance(body, bytes):
            writer.write(body)
        else:
            async for chunk in body:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def replay(directive: str, status: int = 307, **headers: str) -> Response:
    """A response with `fly-replay`. The proxy ignores its status (F-1.23)."""
    return Response(
        status, headers={"fly-replay": directive, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def json_response(data: Any, status: int = 200, kind: str = "application/json", **headers: str) -> Response:
    more = {k.replace("_", "-"): v for k, v in headers.items()}
    return Response(status, json.dumps(data), {"Content-Type": kind, **more})


servers: list[asyncio.Server] = []
"""The listening servers."""
App = Callable[[Request], Awaitable[Response | None]]


def serve(app: App, *more: tuple[App, int]) -> None:
    """Serves `app` on PORT, and each app in `more` on its own port."""
    asyncio.run(_serve([(app, int(os.environ["PORT"])), *more]))


async def _serve(apps: list[tuple[App, int]]) -> None:
    host = os.environ.get("HOST", "127.0.0.1")
    for app, port in apps:  # 0.0.0.0 means all addresses, because other machines connect over IPv6 (F-8.17).
        servers.append(
            await asyncio.start_server(_connection(app), None if host == "0.0.0.0" else host, port)
        )
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _connection(app: App) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = Request(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                await request.read_body()
                response = await app(request)
                if response is None:
                    break
                await response.write(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return handle

"""Clients of the soak test: HTTP/1.1 and HTTP/2 connections and WebSockets that record what they send and receive.

HTTP/1.1 is written by hand, because bytes that belong to no response must be seen. Each request gets exactly one of the
events `answered`, `broken`, `left` and `hung`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.proxy.h2_client import H2Client
from tests.soak.app import COOKIE, read_body
from tests.soak.history import Recorder
from tests.soak.plan import PlannedRequest, PlannedSession

DEADLINE_SECONDS = 20.0
"""Longer than any planned fault with everything that a request may wait for after it."""
_EXTRA_SECONDS = 0.02
_PIECE_BYTES = 65536


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Request:
    """A planned request with its nonce and cookie."""

    plan: PlannedRequest
    nonce: str
    cookie: str | None = None

    @property
    def host(self) -> str:
        return f"{self.plan.app}.fly.dev"

    @property
    def target(self) -> str:
        return f"/{self.plan.kind.replace(' ', '-')}?{urlencode({'n': self.nonce, **self.plan.query})}"

    @property
    def body(self) -> bytes:
        return self.nonce.encode().ljust(self.plan.body_size, b"+")[: self.plan.body_size]

    @property
    def headers(self) -> dict[str, str]:
        return {"cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}


@dataclass
class Lane:
    """A sequence of sessions with one cookie jar."""

    number: int
    ports: Mapping[str, int]
    recorder: Recorder
    cookie: str | None = None
    sent: int = 0
    """Requests and WebSocket messages so far."""
    _open: dict[str, Request] = field(default_factory=dict)
    """The requests without an outcome."""

    async def run(self, session: PlannedSession) -> None:
        port = self.ports[session.edge]
        requests = [
            Request(plan, f"{self.number}.{session.number}.{index}")
            for index, plan in enumerate(session.requests)
        ]
        match session.client:
            case "http1":
                await self._run_in_turn(port, requests)
            case "pipelined":
                await self._run_pipelined(port, requests)
            case "http2":
                await self._run_http2(port, requests)
            case "leaving":
                assert session.leaves_after is not None
                await self._run_leaving(port, requests[0], session.leaves_after)
            case "websocket":
                await self._run_websocket(port, requests[0], session)

    # Records.

    def start(self, request: Request, *, is_message: bool = False) -> None:
        if "sticky" in request.plan.query:
            request.cookie = self.cookie
        self.sent += 1
        self._open[request.nonce] = request
        plan = request.plan
        self.recorder.write(
            "sent",
            n=request.nonce,
            kind=plan.kind,
            client=type(self).__name__,
            app=plan.app,
            method=plan.method,
            allowed=list(plan.allowed_apps),
            expected=plan.expected,
            cookie=request.cookie,
            deadline=DEADLINE_SECONDS,
        )

    def answer(self, request: Request, response: Response) -> None:
        result = _read_result(response)
        machine = result.get("machine")
        self._end(
            "answered",
            request,
            status=response.status,
            machine=machine,
            echo=result.get("n"),
            intact=result.get("digest", "")
            == (hashlib.sha256(request.body).hexdigest() if request.body else ""),
        )
        if "sticky" in request.plan.query:
            self.cookie = machine

    def _end(self, outcome: str, request: Request, **values: object) -> None:
        del self._open[request.nonce]
        self.recorder.write(outcome, n=request.nonce, **values)

    @contextmanager
    def _ending(self, *requests: Request) -> Iterator[None]:
        """Record the outcome of the requests that have none when the block ends."""
        outcome, why = "broken", "the connection was closed"
        try:
            yield
        except TimeoutError:
            outcome, why = "hung", f"no end within {DEADLINE_SECONDS:g} s"
        except asyncio.CancelledError:
            outcome, why = "left", "the run ended"
            raise
        except (OSError, EOFError, ConnectionClosed, InvalidHandshake) as error:
            why = repr(error)
        except ValueError as error:  # Not a response.
            why = repr(error)
            self.recorder.write("unexpected", data=why)
        finally:
            for request in requests:
                if request.nonce in self._open:
                    self._end(outcome, request, why=why)

    # HTTP/1.1.

    async def _run_in_turn(self, port: int, requests: list[Request]) -> None:
        while requests:
            async with _open_http1(port) as connection:
                while requests and connection.is_usable:
                    request = requests.pop(0)
                    self.start(request)
                    with self._ending(request):
                        async with asyncio.timeout(DEADLINE_SECONDS):
                            self.answer(request, await connection.fetch(request))
                            continue
                    break
                await self._check_extra(connection)

    async def _run_pipelined(self, port: int, requests: list[Request]) -> None:
        async with _open_http1(port) as connection:
            for request in requests:
                self.start(request)
            with self._ending(*requests):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    await connection.send(b"".join(map(_http1_bytes, requests)))
                    for request in requests:
                        self.answer(request, await connection.read_response())
            await self._check_extra(connection)

    async def _check_extra(self, connection: Http1) -> None:
        if extra := await connection.read_extra():
            self.recorder.write("unexpected", data=extra[:200].decode("latin-1"))

    async def _run_leaving(self, port: int, request: Request, seconds: float) -> None:
        async with _open_http1(port) as connection:
            self.start(request)
            with self._ending(request):
                try:
                    async with asyncio.timeout(seconds):
                        data = _http1_bytes(request)
                        await connection.send(data[: len(data) // 2] if request.body else data)
                        self.answer(request, await connection.read_response())
                except TimeoutError:
                    self._end("left", request)

    # HTTP/2.

    async def _run_http2(self, port: int, requests: list[Request]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        client = Http2(reader, writer, window=2**20)
        await client.start()
        try:
            await asyncio.gather(*(self._fetch_http2(client, request) for request in requests))
        finally:
            await client.aclose()

    async def _fetch_http2(self, client: Http2, request: Request) -> None:
        self.start(request)
        with self._ending(request):
            async with asyncio.timeout(DEADLINE_SECONDS):
                self.answer(request, await client.respond_to(request))

    # WebSocket.

    async def _run_websocket(self, port: int, page: Request, session: PlannedSession) -> None:
        """Open a page, then a WebSocket that must reach the page's machine."""
        self.cookie = None
        await self._run_in_turn(port, [page])
        machine = self.cookie
        if machine is None:
            return
        handshake = Request(page.plan, f"{page.nonce}.ws")
        self.start(handshake)
        with self._ending(handshake):
            try:
                async with (
                    asyncio.timeout(DEADLINE_SECONDS),
                    connect(
                        f"ws://{handshake.host}{handshake.target}",
                        host="127.0.0.1",
                        port=port,
                        additional_headers=handshake.headers,
                        open_timeout=None,
                        close_timeout=DEADLINE_SECONDS,
                        compression=None,
                        proxy=None,
                    ) as websocket,
                ):
                    assert websocket.response is not None
                    owner = websocket.response.headers.get("x-machine")
                    self._end(
                        "answered", handshake, status=101, machine=owner, echo=handshake.nonce, intact=True
                    )
                    await self._echo(websocket, handshake, machine, session.messages)
            except InvalidStatus as error:
                self.answer(handshake, Response(error.response.status_code, {}, b""))

    async def _echo(self, websocket: ClientConnection, request: Request, page: str, messages: int) -> None:
        machines, count = set(), 0
        try:
            for count in range(1, messages + 1):
                self.sent += 1
                await websocket.send(f"{request.nonce} {count}")
                machine, _, text = str(await websocket.recv()).partition(" ")
                machines.add(machine)
                if text != f"{request.nonce} {count}":
                    self.recorder.write("unexpected", data=text)
            closed = None
        except ConnectionClosed as error:
            closed = str(error)
        except TimeoutError:
            closed = "hung"
            raise
        finally:
            self.recorder.write(
                "socket", n=request.nonce, page=page, machines=sorted(machines), messages=count, closed=closed
            )


@asynccontextmanager
async def _open_http1(port: int) -> AsyncIterator[Http1]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        yield Http1(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


class Http2(H2Client):
    """The HTTP/2 client of the proxy tests, without its deadline."""

    async def wait(self, condition: Any) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: condition() or self.closed)
        if not condition():
            raise ConnectionResetError("the connection was closed")

    async def respond_to(self, request: Request) -> Response:
        """The response may end before the request."""
        headers = [*request.headers.items()]
        body = request.body
        stream = await self.open(
            request.plan.method, request.target, headers, end=not body, authority=request.host
        )
        sending = asyncio.create_task(self.send_body(stream, body)) if body else None
        try:
            await self.complete(stream)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        if not stream.ended:
            raise ConnectionResetError(f"the stream was reset: {stream.reset}")
        return Response(stream.status, dict(stream.fields), bytes(stream.body))


class Http1:
    """A client connection with strict framing."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_usable = True
        """Whether another request can be sent."""

    async def send(self, data: bytes) -> None:
        """Send in pieces, so that a response before the end of the request can be read."""
        for position in range(0, len(data), _PIECE_BYTES):
            self._writer.write(data[position : position + _PIECE_BYTES])
            await self._writer.drain()

    async def fetch(self, request: Request) -> Response:
        """The proxy may respond before it has read the body, and then close the connection."""
        sending = asyncio.create_task(self.send(_http1_bytes(request)))
        try:
            return await self.read_response()
        finally:
            self.is_usable &= sending.done()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def read_response(self) -> Response:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        self.is_usable = "close" not in headers.get("connection", "").lower()
        return Response(int(start.split(" ")[1]), headers, await read_body(self._reader, headers))

    async def read_extra(self) -> bytes:
        """Bytes that arrive although no request is open."""
        if self.is_usable:
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(_EXTRA_SECONDS):
                    return await self._reader.read(_PIECE_BYTES)
        return b""


def _http1_bytes(request: Request) -> bytes:
    headers = {"Host": request.host, **request.headers}
    if request.plan.method == "POST":
        headers["Content-Length"] = str(len(request.body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.plan.method} {request.target} HTTP/1.1\r\n{lines}\r\n".encode() + request.body


def _read_result(response: Response) -> dict[str, str]:
    """What the machine says about itself; empty for a response of the proxy."""
    line = response.body.partition(b"\n")[0]
    with suppress(ValueError):
        result: dict[str, str] = json.loads(line)
        return result
    return {}


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port

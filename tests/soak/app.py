"""Machine of the soak test: does what the request's query says, and logs each request before it responds.

It speaks HTTP/1.1 and, for an app with `h2_backend`, HTTP/2. The log is one JSON object per line, in a file per
process, and each line is one write, so that a kill loses none.

Query: `n` the client's nonce; `replay` a fly-replay value, sent unless this delivery is a replay; `form=json` as a
JSON body; `loop` replay each time; `wait` seconds before the response; `size` of the body; `chunks` of a streamed body;
`end=abort` reset in the middle of the response; `end=late` keep sending after a replay and close later; `sticky` own
the session of the cookie `soak`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

ME = os.environ.get("FLY_MACHINE_ID", "")
APP = os.environ.get("FLY_APP_NAME", "")
REGION = os.environ.get("FLY_REGION", "")
COOKIE = "soak"
LATE_SECONDS = 0.3
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
JSON_REPLAY = "application/vnd.fly.replay+json"

Headers = dict[str, str]


class Log:
    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"{ME}-{os.getpid()}.jsonl", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write(self, event: str, **values: Any) -> None:
        line = {"at": time.time(), "event": event, "machine": ME, "app": APP, "region": REGION, **values}
        os.write(self._file, json.dumps(line).encode() + b"\n")


async def read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    """The body of an HTTP/1.1 message, without its framing; the names in `headers` are in lower case."""
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body


class Order:
    """What a request asks for."""

    def __init__(self, target: str) -> None:
        query = dict(parse_qsl(urlsplit(target).query))
        self.nonce = query.get("n", "")
        self.replay = query.get("replay")
        self.is_json = query.get("form") == "json"
        self.loops = "loop" in query
        self.wait_seconds = float(query.get("wait", 0))
        self.size = int(query.get("size", 0))
        self.chunks = int(query.get("chunks", 0))
        self.end = query.get("end", "")
        self.is_sticky = "sticky" in query

    def find_replay(self, headers: Headers) -> str | None:
        """The `fly-replay` value to respond with; None to respond."""
        is_replayed = "fly-replay-src" in headers or "fly-replay-failed" in headers
        if self.is_sticky and not is_replayed:
            owner = find_cookie(headers)
            return f"instance={owner}" if owner not in (None, ME) else None
        return self.replay if self.loops or not is_replayed else None


def find_cookie(headers: Headers) -> str | None:
    for pair in headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        if name == COOKIE:
            return value
    return None


class Connection:
    """One HTTP/1.1 connection from the proxy."""

    def __init__(self, log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._log = log
        self._reader = reader
        self._writer = writer

    async def serve(self, first: bytes) -> None:
        while head := first + await self._reader.readuntil(b"\r\n\r\n"):
            first = b""
            start, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = start.split(" ", 2)
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines if line)
            }
            if not await self._respond(method, target, headers):
                return

    async def _respond(self, method: str, target: str, headers: Headers) -> bool:
        """Returns whether the connection can take another request."""
        if target == "/healthz":
            return await self._send(b"")
        order = Order(target)
        self._log.write("received", **received(method, order, headers))
        body = await read_body(self._reader, headers)
        if replay := order.find_replay(headers):
            return await self._replay(order, replay)
        if headers.get("upgrade", "").lower() == "websocket":
            return await self._accept_websocket(headers)
        await asyncio.sleep(order.wait_seconds)
        return await self._send_result(order, method, body)

    async def _replay(self, order: Order, replay: str) -> bool:
        self._log.write("replayed", n=order.nonce, replay=replay)
        if order.is_json:
            fields = dict(pair.partition("=")[::2] for pair in replay.split(";"))
            body = json.dumps(fields).encode()
            return await self._send(body, f"content-type: {JSON_REPLAY}\r\n")
        if order.end == "late":  # The rest of this response must not reach the client.
            await self._write(
                f"HTTP/1.1 200 OK\r\nfly-replay: {replay}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
            )
            await self._write(b"9\r\ntoo late!\r\n")
            await asyncio.sleep(LATE_SECONDS)
            await self._write(b"9\r\ntoo late!\r\n")
            return False
        return await self._send(b"", f"fly-replay: {replay}\r\n")

    async def _send_result(self, order: Order, method: str, body: bytes) -> bool:
        result = make_result(order, body)
        cookie = f"set-cookie: {COOKIE}={ME}\r\n" if order.is_sticky else ""
        if order.end == "abort":
            await self._write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + result)
            self._reset()
            return False
        if order.chunks:
            await self._write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in (result, *[b"x" * 100] * order.chunks):
                await self._write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await asyncio.sleep(0.01)
            await self._write(b"0\r\n\r\n")
            return True
        return await self._send(result, cookie)

    async def _accept_websocket(self, headers: Headers) -> bool:
        await self._write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: %b\r\nx-machine: %b\r\n\r\n"
            % (accept_key(headers["sec-websocket-key"]), ME.encode())
        )
        while True:
            opcode, payload = await self._read_frame()
            if opcode == 8:
                await self._write(frame(8, payload[:2]))
                return False
            if opcode in (1, 2):
                await self._write(frame(opcode, ME.encode() + b" " + payload))

    async def _read_frame(self) -> tuple[int, bytes]:
        """A frame of a client; the clients send unfragmented messages of less than 64 KiB."""
        first, second = await self._reader.readexactly(2)
        size = second & 127
        if size == 126:
            (size,) = struct.unpack("!H", await self._reader.readexactly(2))
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(size)
        return first & 15, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    async def _send(self, body: bytes, fields: str = "") -> bool:
        await self._write(f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(body)}\r\n\r\n".encode() + body)
        return True

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def _reset(self) -> None:
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class Http2Connection:
    """One HTTP/2 connection from the proxy, which sends one request at a time."""

    def __init__(self, log: Log, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self._log = log
        self._reader = reader
        self._writer = writer
        self._requests: dict[int, tuple[Headers, bytearray]] = {}

    async def serve(self, first: bytes) -> None:
        from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset

        self._h2.initiate_connection()
        data = first
        while data:
            for event in self._h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = dict(event.headers)
                    self._requests[event.stream_id] = headers, bytearray()
                    self._log.write(
                        "received", **received(headers[":method"], Order(headers[":path"]), headers)
                    )
                elif isinstance(event, DataReceived) and event.stream_id in self._requests:
                    self._requests[event.stream_id][1].extend(event.data)
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    await self._respond(event.stream_id, *self._requests.pop(event.stream_id))
                elif isinstance(event, StreamReset):
                    self._requests.pop(event.stream_id, None)
            self._writer.write(self._h2.data_to_send())
            await self._writer.drain()
            data = await self._reader.read(65536)

    async def _respond(self, stream: int, headers: Headers, body: bytearray) -> None:
        order = Order(headers[":path"])
        await asyncio.sleep(order.wait_seconds)
        self._h2.send_headers(stream, [(":status", "200"), ("server", "soak")])
        self._h2.send_data(stream, make_result(order, bytes(body)), end_stream=True)


def received(method: str, order: Order, headers: Headers) -> dict[str, Any]:
    return {
        "n": order.nonce,
        "method": method,
        "request_id": headers.get("fly-request-id"),
        "src": headers.get("fly-replay-src"),
        "failed": headers.get("fly-replay-failed"),
    }


def make_result(order: Order, body: bytes) -> bytes:
    """One line of JSON that shows who responded to what, filled up to the requested size."""
    digest = hashlib.sha256(body).hexdigest() if body else ""
    line = json.dumps({"n": order.nonce, "machine": ME, "app": APP, "digest": digest}).encode() + b"\n"
    return line.ljust(order.size, b".")


def accept_key(key: str) -> bytes:
    return base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())


def frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    head = (
        bytes([0x80 | opcode, size]) if size < 126 else bytes([0x80 | opcode, 126]) + struct.pack("!H", size)
    )
    return head + payload


async def main(host: str, port: int, folder: Path) -> None:
    log = Log(folder)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                first = await reader.readexactly(3)
                kind = Http2Connection if first == PREFACE[:3] else Connection
                await kind(log, reader, writer).serve(first)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, host, port, backlog=1024, limit=2**20)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()
    os._exit(0)  # Without waiting for open requests, which asyncio would cancel with a message for each.


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))

"""WebSocket echo server and load generator, as raw asyncio protocols so that they are not the bottleneck."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import struct
import time

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
PAYLOAD = b"x" * 32
_MASK = b"\x01\x02\x03\x04"
_MASKED = bytes(byte ^ _MASK[i % 4] for i, byte in enumerate(PAYLOAD))
_REQUEST_FRAME = bytes([0x82, 0x80 | len(PAYLOAD)]) + _MASK + _MASKED
_ECHO_FRAME = bytes([0x82, len(PAYLOAD)]) + PAYLOAD


class EchoServer(asyncio.Protocol):
    """Echoes the frames of EchoClient, which all have the same size and payload."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.head = b""
        self.received = 0

    def data_received(self, data: bytes) -> None:
        if self.received < 0 or self.head is None:
            return
        if not self.head.endswith(b"\r\n\r\n"):
            self.head += data
            if b"\r\n\r\n" in self.head:
                self._accept()
            return
        self.received += len(data)
        whole, self.received = divmod(self.received, len(_REQUEST_FRAME))
        self.transport.write(_ECHO_FRAME * whole)  # type: ignore[attr-defined]

    def _accept(self) -> None:
        key = next(
            line.split(b":", 1)[1].strip()
            for line in self.head.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key:")
        )
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        self.transport.write(  # type: ignore[attr-defined]
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-accept: " + accept + b"\r\n\r\n"
        )


class EchoClient(asyncio.Protocol):
    """Sends a frame, waits for its echo, then sends the next."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.messages = 0
        self.running = True
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        key = base64.b64encode(struct.pack("!QQ", 1, 2)).decode()
        transport.write(  # type: ignore[attr-defined]
            f"GET /ws HTTP/1.1\r\nhost: {self._host}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if not self.open.done():
            if not data.startswith(b"HTTP/1.1 101"):
                self.open.set_exception(RuntimeError(f"handshake failed: {data[:80]!r}"))
                return
            self.open.set_result(None)
            self.transport.write(_REQUEST_FRAME)  # type: ignore[attr-defined]
            return
        self._received += len(data)
        while self._received >= len(_ECHO_FRAME):
            self._received -= len(_ECHO_FRAME)
            self.messages += 1
            if self.running:
                self.transport.write(_REQUEST_FRAME)  # type: ignore[attr-defined]


async def echoes_per_second(port: int, host: str, *, clients: int, seconds: float) -> float:
    """Round trips per second through the server on `port`."""
    loop = asyncio.get_running_loop()
    echo_clients = [
        (await loop.create_connection(lambda: EchoClient(host), "127.0.0.1", port))[1] for _ in range(clients)
    ]
    await asyncio.gather(*(client.open for client in echo_clients))
    start, before = time.perf_counter(), sum(client.messages for client in echo_clients)
    await asyncio.sleep(seconds)
    rate = (sum(client.messages for client in echo_clients) - before) / (time.perf_counter() - start)
    for client in echo_clients:
        client.running = False
        client.transport.close()
    return rate


async def serve_echo(port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(EchoServer, "127.0.0.1", port)


if __name__ == "__main__":
    import sys

    async def main() -> None:
        await (await serve_echo(int(sys.argv[1]))).serve_forever()

    asyncio.run(main())

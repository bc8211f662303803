"""Raw HTTP/1.1 for both sides of the proxy, with control over every byte sent and read."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field

DEADLINE_SECONDS = 10.0


@dataclass
class Message:
    """A received request or response: its head, and its body without framing."""

    head: bytes
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    @property
    def start_line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.start_line.split(" ")[1])

    @property
    def method(self) -> str:
        return self.start_line.split(" ")[0]

    @property
    def target(self) -> str:
        return self.start_line.split(" ")[1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, in order."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = [line.split(":", 1) for line in lines if line]
        return [(name.lower(), value.strip()) for name, value in pairs]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} appears {len(values)} times: {values}"
        return values[0] if values else None

    def __repr__(self) -> str:
        return f"<{self.start_line!r}, {len(self.body)} bytes>"


class Wire:
    """One side of a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def send_bytewise(self, data: bytes) -> None:
        """Send each byte in a packet of its own."""
        for position in range(len(data)):
            self.writer.write(data[position : position + 1])
            await asyncio.sleep(0)

    async def read_head(self) -> Message:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return Message(await self.reader.readuntil(b"\r\n\r\n"))

    async def read_exactly(self, size: int) -> bytes:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.readexactly(size)

    async def read_some(self) -> bytes:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self.reader.read(65536)

    async def read_chunk(self) -> bytes:
        """Read one chunk of a chunked body; the last one is empty."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size)
            assert await self.reader.readexactly(2) == b"\r\n"
            return data

    async def read_body(self, message: Message, *, until_close: bool = False) -> Message:
        length = message.get("content-length")
        if "chunked" in (message.get("transfer-encoding") or ""):
            while chunk := await self.read_chunk():
                message.chunks.append(chunk)
            message.body = b"".join(message.chunks)
        elif length is not None:
            message.body = await self.read_exactly(int(length))
        elif until_close:
            message.body = await self.read_to_end()
        return message

    async def read_to_end(self) -> bytes:
        """Read until the other side closes; a reset counts as a close."""
        parts = []
        async with asyncio.timeout(DEADLINE_SECONDS):
            try:
                while part := await self.reader.read(65536):
                    parts.append(part)
            except ConnectionError:
                pass
        return b"".join(parts)

    async def discard_body(self, message: Message) -> int:
        """Read a body of any size without keeping it. Returns its size in bytes."""
        size = 0
        if "chunked" in (message.get("transfer-encoding") or ""):
            while chunk := await self.read_chunk():
                size += len(chunk)
            return size
        length = int(message.get("content-length") or 0)
        while size < length:
            data = await self.reader.read(min(length - size, 65536))
            if not data:
                raise asyncio.IncompleteReadError(b"", length - size)
            size += len(data)
        return size

    def pause(self) -> None:
        """Stop reading from the socket until `resume`."""
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        self.writer.transport.resume_reading()  # type: ignore[attr-defined]

    def half_close(self) -> None:
        """Send FIN and continue to read."""
        self.writer.write_eof()

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

"""WebSocket frames (RFC 6455) for the example apps: short text messages and the close frame."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha1

_TEXT, _CLOSE = 1, 8


async def accept(
    key: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Socket:
    digest = b64encode(sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": digest, **headers}
    lines = ["HTTP/1.1 101 Switching Protocols", *(f"{name}: {value}" for name, value in fields.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    await writer.drain()
    return Socket(reader, writer)


class Socket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, text: str) -> None:
        await self._send_frame(_TEXT, text.encode())

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yields text messages until the other side closes."""
        while True:
            kind, data = await self._read_frame()
            if kind == _CLOSE:
                await self._send_frame(_CLOSE, data)
                return
            if kind == _TEXT:
                yield data.decode()

    async def _send_frame(self, kind: int, data: bytes) -> None:
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + len(data).to_bytes(2)
        self._writer.write(bytes([0x80 | kind]) + size + data)
        await self._writer.drain()

    async def _read_frame(self) -> tuple[int, bytes]:
        first, second = await self._reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2))
        mask = await self._reader.readexactly(4)
        data = await self._reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))

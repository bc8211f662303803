"""Raw HTTP/2 client: sends frames as they are, and collects what the proxy responds (RFC 9113)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

import hpack
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from tests.proxy.wire import DEADLINE_SECONDS

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PING = b"finished"

Fields = Iterable[tuple[str | bytes, str | bytes]]
GET: list[tuple[str, str]] = [
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "web.test"),
    (":path", "/"),
]


def fields(
    *extra: tuple[str | bytes, str | bytes], **pseudo: str | bytes | None
) -> list[tuple[str | bytes, str | bytes]]:
    """The fields of a GET request, with these pseudo-headers replaced, or left out if None, and `extra` fields."""
    base: dict[str, str | bytes | None] = dict(GET)
    base.update({f":{name}": value for name, value in pseudo.items()})
    return [*((name, value) for name, value in base.items() if value is not None), *extra]


def headers(sent: Fields, *, stream: int = 1, end: bool = True, block_end: bool = True) -> bytes:
    """A HEADERS frame. Its block does not depend on earlier ones."""
    frame = HeadersFrame(stream)
    frame.data = _encode(sent)
    frame.flags |= {"END_STREAM"} if end else set()
    frame.flags |= {"END_HEADERS"} if block_end else set()
    return bytes(frame.serialize())


def _encode(sent: Fields) -> bytes:
    """Literal fields that are not indexed (RFC 7541, 6.2.2), so that any bytes can be sent."""
    block = b""
    for pair in sent:
        block += b"\0"
        for text in pair:
            data = text if isinstance(text, bytes) else text.encode()
            size = hpack.hpack.encode_integer(len(data), 7)
            block += bytes(size) + data
    return block


def data(body: bytes, *, stream: int = 1, end: bool = True) -> bytes:
    frame = DataFrame(stream, body)
    frame.flags |= {"END_STREAM"} if end else set()
    return bytes(frame.serialize())


def raw(kind: int, flags: int, stream: int, payload: bytes, *, size: int | None = None) -> bytes:
    """A frame of any type. `size`: the length that it claims, if it is not that of `payload`."""
    length = len(payload) if size is None else size
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@dataclass
class Outcome:
    """What a client got on one connection."""

    responses: dict[int, dict[str, str]] = field(default_factory=dict)
    resets: dict[int, int] = field(default_factory=dict)
    goaway: int | None = None
    is_closed: bool = False

    def status(self, stream: int = 1) -> int | None:
        return int(self.responses[stream][":status"]) if stream in self.responses else None


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytes, *, streams: Iterable[int] = ()
) -> Outcome:
    """Send the preface and `sent`, then a PING. Read until the PING is acknowledged and all `streams` have ended, or
    the connection closes."""
    outcome, decoder = Outcome(), hpack.Decoder()
    decoder.max_header_list_size = 2**20
    writer.write(PREFACE + SettingsFrame(0).serialize() + sent + PingFrame(0, PING).serialize())
    waiting, is_pinged = set(streams), False
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not (is_pinged and not waiting):
            try:
                frame, length = Frame.parse_frame_header(memoryview(await reader.readexactly(9)))
                frame.parse_body(memoryview(await reader.readexactly(length)))
            except (asyncio.IncompleteReadError, ConnectionError):
                outcome.is_closed = True
                return outcome
            if isinstance(frame, HeadersFrame):
                received = decoder.decode(frame.data)
                outcome.responses.setdefault(
                    frame.stream_id, {str(name): str(value) for name, value in received}
                )
            elif isinstance(frame, RstStreamFrame):
                outcome.resets[frame.stream_id] = frame.error_code
                waiting.discard(frame.stream_id)
            elif isinstance(frame, GoAwayFrame):
                outcome.goaway = frame.error_code
            elif isinstance(frame, PingFrame) and frame.opaque_data == PING and "ACK" in frame.flags:
                is_pinged = True
            if "END_STREAM" in frame.flags:
                waiting.discard(frame.stream_id)
    return outcome

"""Wire targets of fuzzing: a real edge between raw bytes from a client and a machine that records what it receives.

Whatever a client sends, the edge lives, each of its responses is well formed, and so is each request to the machine.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress

from hpack import Decoder
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame

from tests.asyncio_errors import LoggedErrors
from tests.fuzz import strict_http1
from tests.proxy import websocket as ws
from tests.proxy.harness import AMS, Harness, open_harness
from tests.proxy.machine import MachineWire

Check = Callable[[bytes], None]

DEADLINE_SECONDS = 10.0
_QUIET_TURNS = 30
_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_CANARY = b"GET /canary HTTP/1.1\r\nHost: streams.fly.dev\r\n\r\n"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_FRAME_BYTES = 16_384


class Edge:
    """The edge, and the bytes that its machine received, by connection."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.received: list[bytearray] = []

    async def serve(self, wire: MachineWire) -> None:
        """Respond without a body, so that a response to HEAD is like any other; after an upgrade, echo."""
        data = bytearray()
        self.received.append(data)
        responded = 0
        while piece := await wire.reader.read(65536):
            data += piece
            if data.startswith(b"GET /ws "):
                if responded == 0:
                    _, _, piece = bytes(data).partition(b"\r\n\r\n")
                    responded = 1
                    await wire.send(ws.accept())
                await wire.send(piece)
                continue
            complete = sum(request.is_complete for request in strict_http1.parse_requests(bytes(data)))
            await wire.send(_RESPONSE * (complete - responded))
            responded = complete

    async def send(self, *parts: bytes) -> bytes:
        """Send the parts on a new connection, each when nothing happens anymore. Returns all that came back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._harness.port())
        response = bytearray()
        reading = asyncio.create_task(_read_to_end(reader, response))
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                for part in parts:
                    with suppress(OSError):
                        writer.write(part)
                        await writer.drain()
                    await self._settle(response)
            return bytes(response)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _settle(self, response: bytearray) -> None:
        """All parties are in this event loop, so a number of turns without a byte is the end, and no time is."""
        before, quiet = None, 0
        while quiet < _QUIET_TURNS:
            await asyncio.sleep(0)
            now = (len(response), len(self.received), sum(map(len, self.received)))
            quiet = quiet + 1 if now == before else 0
            before = now

    async def check_alive(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._harness.port())
        async with asyncio.timeout(DEADLINE_SECONDS):
            writer.write(_CANARY)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 "), (
                "the edge does not respond"
            )
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        errors = self._harness.errors.take()
        assert not errors, "\n".join(errors)


async def _read_to_end(reader: asyncio.StreamReader, data: bytearray) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            data += piece


@contextmanager
def _checking(check: Callable[[Edge, bytes], Awaitable[None]]) -> Iterator[Check]:
    """Run `check` on an edge that lives as long as the context."""
    errors = LoggedErrors()
    logger = logging.getLogger("asyncio")
    logger.addHandler(errors)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        edge = runner.run(_open(stack))
        gc.freeze()  # So that a collection looks at the objects of one input only.

        async def run(data: bytes) -> None:
            edge.received.clear()
            await check(edge, data)
            await edge.check_alive()
            gc.collect()
            assert not (left := errors.take()), "\n".join(left)

        try:
            yield lambda data: runner.run(run(data))
        finally:
            logger.removeHandler(errors)
            runner.run(stack.aclose())


async def _open(stack: AsyncExitStack) -> Edge:
    harness = await stack.enter_async_context(open_harness(deadline_seconds=None))
    edge = Edge(harness)
    await harness.add_machine(AMS, "ams", edge.serve)
    return edge


def http1_check() -> contextmanager[Check]:  # type: ignore[valid-type]
    async def check(edge: Edge, data: bytes) -> None:
        response = await edge.send(data)
        strict_http1.check_responses(response)
        _check_requests(edge)

    return _checking(check)


def http2_check() -> contextmanager[Check]:  # type: ignore[valid-type]
    """The input is what follows the client's preface."""

    async def check(edge: Edge, data: bytes) -> None:
        response = await edge.send(_PREFACE + data)
        _check_frames(response)
        _check_requests(edge)

    return _checking(check)


def websocket_check() -> contextmanager[Check]:  # type: ignore[valid-type]
    """The input is what follows the client's handshake: the bytes pass unchanged in both directions."""

    async def check(edge: Edge, data: bytes) -> None:
        response = await edge.send(ws.upgrade(), data)
        head, _, echo = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        (received,) = edge.received
        at_machine = bytes(received).partition(b"\r\n\r\n")[2]
        assert data.startswith(at_machine), "the machine received other bytes"
        assert data.startswith(echo), "the client received other bytes"

    return _checking(check)


def _check_requests(edge: Edge) -> None:
    for data in edge.received:
        for request in strict_http1.parse_requests(bytes(data)):
            assert not request.flaws, f"the machine received {', '.join(request.flaws)}: {bytes(data)!r}"


def _check_frames(data: bytes) -> None:
    """Complete HTTP/2 frames with valid response heads (RFC 9113, 4.1 and 8.3.2)."""
    decoder, block = Decoder(), b""
    while len(data) >= 9:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        assert length <= _MAX_FRAME_BYTES
        assert len(data) >= 9 + length, "an incomplete frame"
        frame.parse_body(memoryview(data[9 : 9 + length]))
        data = data[9 + length :]
        if isinstance(frame, HeadersFrame | ContinuationFrame):
            block += frame.data
            if "END_HEADERS" in frame.flags:
                _check_head([(str(name), str(value)) for name, value in decoder.decode(block)])
                block = b""
    assert not data, "an incomplete frame"


def _check_head(fields: list[tuple[str, str]]) -> None:
    assert re.fullmatch("[1-5][0-9][0-9]", dict(fields).get(":status", "")), fields
    for name, value in fields:
        assert re.fullmatch(r":status|[!#$%&'*+\-.^_`|~0-9a-z]+", name), name
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value), (name, value)

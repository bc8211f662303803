"""HTTP/2 client on one connection, based on h2, with control over its flow control windows."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.settings import SettingCodes

from tests.proxy.wire import DEADLINE_SECONDS


@dataclass
class Stream:
    """One request and its response."""

    id: int
    fields: list[tuple[str, str]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    received: int = 0
    unacknowledged: int = 0
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.fields)[":status"])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) < 2, f"{name} appears {len(values)} times: {values}"
        return values[0] if values else None


class H2Client:
    """`window`: the size of the windows, in bytes. With `manual`, only `acknowledge` opens them again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, window: int) -> None:
        self.reader = reader
        self.writer = writer
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.local_settings = self.h2.local_settings.__class__(
            client=True,
            initial_values={
                SettingCodes.INITIAL_WINDOW_SIZE: window,
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_FRAME_SIZE: 2**14,
            },
        )
        self.h2.decoder.max_header_list_size = 2**20
        self._window = window
        self.manual = False
        self.keep_bodies = True
        self.streams: dict[int, Stream] = {}
        self.goaway: int | None = None
        self._changed = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self.closed = False

    async def start(self) -> None:
        self.h2.initiate_connection()
        if self._window > 65535:
            self.h2.increment_flow_control_window(self._window - 65535)
        await self.flush()
        self.listen()

    def listen(self) -> None:
        self._task = asyncio.create_task(self._read())

    # Sending.

    async def flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self.writer.is_closing():
            self.writer.write(data)
            await self.writer.drain()

    async def open(
        self,
        method: str = "GET",
        path: str = "/",
        headers: list[tuple[str, str]] | None = None,
        *,
        end: bool = True,
        authority: str = "streams.fly.dev",
    ) -> Stream:
        """Send the head of a request."""
        stream = Stream(self.h2.get_next_available_stream_id())
        self.streams[stream.id] = stream
        head = [(":method", method), (":scheme", "http"), (":authority", authority), (":path", path)]
        self.h2.send_headers(stream.id, [*head, *(headers or [])], end_stream=end)
        await self.flush()
        return stream

    async def send_body(self, stream: Stream, body: bytes, *, end: bool = True) -> None:
        view = memoryview(body)
        while view:
            await self.wait(lambda: self.h2.local_flow_control_window(stream.id) > 0)
            size = min(
                self.h2.local_flow_control_window(stream.id), self.h2.max_outbound_frame_size, len(view)
            )
            self.h2.send_data(stream.id, bytes(view[:size]))
            view = view[size:]
            await self.flush()
        if end:
            self.h2.end_stream(stream.id)
            await self.flush()

    async def send_trailers(self, stream: Stream, trailers: list[tuple[str, str]]) -> None:
        """End the stream with these fields."""
        self.h2.send_headers(stream.id, trailers, end_stream=True)
        await self.flush()

    async def reset(self, stream: Stream) -> None:
        self.h2.reset_stream(stream.id, 8)  # CANCEL
        await self.flush()

    async def acknowledge(self, stream: Stream) -> None:
        """Open the windows by the amount received since the last call."""
        size, stream.unacknowledged = stream.unacknowledged, 0
        if size:
            self.h2.acknowledge_received_data(size, stream.id)
            await self.flush()

    # Receiving.

    async def fetch(
        self,
        method: str = "GET",
        path: str = "/",
        headers: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
    ) -> Stream:
        stream = await self.open(method, path, headers, end=body is None)
        if body is not None:
            await self.send_body(stream, body)
        return await self.complete(stream)

    async def complete(self, stream: Stream) -> Stream:
        await self.wait(lambda: stream.ended or stream.reset is not None)
        return stream

    async def wait(self, condition: object) -> None:
        """Wait until `condition` is true. Fails if the connection closes first."""
        assert callable(condition)
        async with asyncio.timeout(DEADLINE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: condition() or self.closed)
        assert condition(), "the connection was closed"

    async def _read(self) -> None:
        with suppress(ConnectionError):
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self._handle(event)
                await self.flush()
                async with self._changed:
                    self._changed.notify_all()
        self.closed = True
        async with self._changed:
            self._changed.notify_all()

    def _handle(self, event: Event) -> None:
        if isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code)
        stream = self.streams.get(getattr(event, "stream_id", 0))
        if stream is None:
            return
        if isinstance(event, ResponseReceived):
            stream.fields = list(event.headers)
        elif isinstance(event, InformationalResponseReceived):
            stream.interim.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, DataReceived):
            self._handle_data(stream, event)
        elif isinstance(event, TrailersReceived):
            stream.trailers = list(event.headers)
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = int(event.error_code)

    def _handle_data(self, stream: Stream, event: DataReceived) -> None:
        stream.received += len(event.data)
        if self.keep_bodies:
            stream.body += event.data
        if self.manual:
            stream.unacknowledged += event.flow_controlled_length
        else:
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    async def aclose(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
        if self._task is not None:
            await self._task

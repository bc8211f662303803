"""WebSocket tunnel: passes bytes between client and machine unchanged, and follows frame boundaries.

Frames are watched, never rebuilt or stored: fragments, masks, compression and close frames reach the other side as
they were sent. Frame layout: RFC 6455, section 5.2. Payloads are skipped, not decoded.
"""

from __future__ import annotations

from collections.abc import Callable

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer

OPCODE_CLOSE = 0x8
GO_AWAY_FRAME = b"\x88\x02" + (1001).to_bytes(2, "big")
"""A close frame with the code for "going away" (RFC 6455, 7.4.1)."""
CLOSE_SECONDS = 5.0
"""How long a client has to answer the proxy's close frame, in real time."""
MAX_FRAMES_PER_TURN = 2000
"""How many frames of one connection are passed on before other connections get their turn."""
_MAX_HEADER_BYTES = 14  # 2, an 8-byte length and a 4-byte mask
_NO_STATUS = 1005  # RFC 6455, 7.4.1: a close frame without a code


class GoAway(events.Event):
    """The machine of this WebSocket is about to be stopped."""


class _Side:
    """One end of a tunnel, and what it has sent."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frames = FrameScanner()
        self.waiting = b""
        """What has arrived, and is passed on after other connections have had their turn."""
        self.next_turn: commands.RequestWakeup | None = None

    @property
    def has_closed(self) -> bool:
        """Whether it has sent a close frame."""
        return self.frames.close_code is not None


class Tunnel:
    """Two connections that pass bytes to each other until either closes.

    `on_close` is called with the WebSocket's close code, or None if there was none. `bytes_before_reset` is called
    with the size of each piece of data from the machine: it returns how many of its bytes pass before a fault resets
    the connection, or None if all of them pass.
    """

    def __init__(
        self,
        client: Connection,
        machine: Connection,
        on_close: Callable[[int | None], None],
        bytes_before_reset: Callable[[int], int | None],
    ) -> None:
        self._client = _Side(client)
        self._machine = _Side(machine)
        self._on_close = on_close
        self._bytes_before_reset = bytes_before_reset
        self._closed = False
        self._is_going_away = False
        """Whether the machine is about to stop: the client gets a close frame from the proxy."""
        self._has_gone_away = False
        """Whether the client has it: nothing follows it, and the client's close frame ends the connection."""

    def owns(self, connection: Connection) -> bool:
        return connection is self._client.connection or connection is self._machine.connection

    def awaits_turn(self, connection: Connection) -> bool:
        """Whether data of this connection waits until other connections have had their turn."""
        return self._side_of(connection).next_turn is not None

    def _side_of(self, connection: Connection) -> _Side:
        return self._client if connection is self._client.connection else self._machine

    def pass_on(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        side = self._side_of(event.connection)
        if isinstance(event, events.DataReceived):
            side.waiting += event.data
            if side.next_turn is None:
                yield from self._take_turn(side)
        elif isinstance(event, events.ConnectionClosed):
            if self._has_gone_away and side is self._machine:  # the client's close frame is still to come
                yield commands.CloseConnection(self._machine.connection)
            else:
                yield from self._close()

    def wake_up(self, command: commands.Command) -> layer.CommandGenerator[None]:
        """Called when a wake-up of this tunnel is due."""
        for side in (self._client, self._machine):
            if command is side.next_turn:
                side.next_turn = None
                yield from self._take_turn(side)
                return
        yield from self._close()  # the client has not answered the close frame

    def _take_turn(self, side: _Side) -> layer.CommandGenerator[None]:
        """Pass on what has arrived from `side`: all of it, unless it has many frames."""
        if side is self._client:
            yield from self._pass_on_from_client()
        elif not self._has_gone_away:
            yield from self._pass_on_from_machine()
        if self._closed or (self._has_gone_away and side is self._machine):
            side.waiting = b""
        if side.waiting:
            side.next_turn = commands.RequestWakeup(0)
            yield side.next_turn

    def _pass_on_from_client(self) -> layer.CommandGenerator[None]:
        size = self._client.frames.scan(self._client.waiting)
        data, self._client.waiting = self._client.waiting[:size], self._client.waiting[size:]
        yield commands.SendData(self._machine.connection, data)
        if self._has_gone_away and self._client.has_closed:
            yield from self._close()

    def _pass_on_from_machine(self) -> layer.CommandGenerator[None]:
        machine, earlier_code = self._machine, self._machine.frames.close_code
        end = machine.frames.next_boundary(machine.waiting) if self._is_going_away else None
        size = machine.frames.scan(machine.waiting[:end])
        data, machine.waiting = machine.waiting[:size], machine.waiting[size:]
        passed = self._bytes_before_reset(len(data))
        yield commands.SendData(self._client.connection, data[:passed])
        if passed is not None:
            machine.frames.close_code = earlier_code  # a close frame in this data may not have passed
            yield from self._close()
        elif self._is_going_away:
            yield from self._send_close_frame()

    def go_away(self) -> layer.CommandGenerator[None]:
        """Send the client a close frame, at the next boundary between two of the machine's frames (F-5.36).

        The client has some seconds to send its own close frame. A machine that is suspended may never reach a
        boundary: then, too, the connection closes after this time.
        """
        if self._closed or self._is_going_away:
            return
        self._is_going_away = True
        yield commands.RequestWakeup(CLOSE_SECONDS)
        yield from self._send_close_frame()

    def _send_close_frame(self) -> layer.CommandGenerator[None]:
        """Do it now if possible. Nothing follows the frame, or the machine's own one (RFC 6455, 5.5.1)."""
        if not self._machine.has_closed:
            if not self._machine.frames.at_boundary:
                return
            self._machine.frames.scan(GO_AWAY_FRAME)
            yield commands.SendData(self._client.connection, GO_AWAY_FRAME)
        self._has_gone_away = True
        if self._client.has_closed:
            yield from self._close()

    def _close(self) -> layer.CommandGenerator[None]:
        if self._closed:
            return
        self._closed = True
        yield commands.CloseConnection(self._machine.connection)
        yield commands.CloseConnection(self._client.connection)
        self._on_close(self._client.frames.close_code or self._machine.frames.close_code)


class FrameScanner:
    """Finds frame boundaries and the close code in one direction of a WebSocket."""

    def __init__(self, frames_per_turn: int = MAX_FRAMES_PER_TURN) -> None:
        self._frames_per_turn = frames_per_turn
        self._header = b""
        self._payload_left = 0
        self._close_payload: bytearray | None = None
        """The code of a close frame, as far as it has arrived; the rest of its payload is not kept."""
        self._mask = b""
        self.frames = 0
        self.close_code: int | None = None

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._header and self._payload_left == 0

    def next_boundary(self, data: bytes) -> int | None:
        """How many of the next bytes of the stream complete the current frame; None: more than all of them."""
        if self._header:
            header = self._header + data[: _MAX_HEADER_BYTES - len(self._header)]
            size = _header_size(header)
            if size is None:
                return None
            left = size - len(self._header) + _payload_size(header)
        else:
            left = self._payload_left
        return left if left <= len(data) else None

    def scan(self, data: bytes) -> int:
        """Process the next bytes of the stream, up to the frames of one turn. Returns how many bytes that are.

        Nothing is looked for after a close frame.
        """
        position, end, last = 0, len(data), self.frames + self._frames_per_turn
        while position < end and self.frames < last:
            if self.close_code is not None:
                return end
            if self._payload_left:
                position = self._skip_payload(data, position)
                continue
            if not self._header and end - position >= _MAX_HEADER_BYTES:
                first, second = data[position], data[position + 1]
                length = second & 0x7F
                if length < 126 and first & 0x0F != OPCODE_CLOSE:  # most frames: skip them without a copy
                    self.frames += 1
                    position += length + (6 if second & 0x80 else 2)
                    if position > end:
                        self._payload_left, position = position - end, end
                    continue
            self._header += data[position : position + _MAX_HEADER_BYTES]
            size = _header_size(self._header)
            if size is None:
                return end  # the header continues in the next piece of data
            # The slice above may include payload: step back to the end of the header.
            position = min(position + _MAX_HEADER_BYTES, end) - (len(self._header) - size)
            self._begin_frame(self._header[:size])
            self._header = b""
        return position

    def _begin_frame(self, header: bytes) -> None:
        self.frames += 1
        self._payload_left = _payload_size(header)
        if header[0] & 0x0F == OPCODE_CLOSE:
            self._mask = header[-4:] if header[1] & 0x80 else bytes(4)
            self._close_payload = bytearray()
            self._end_close_frame()

    def _skip_payload(self, data: bytes, position: int) -> int:
        """Returns the position after the payload, or the end of `data` if the payload continues."""
        size = min(self._payload_left, len(data) - position)
        self._payload_left -= size
        if self._close_payload is not None:
            self._close_payload += data[position : position + min(size, 2 - len(self._close_payload))]
            self._end_close_frame()
        return position + size

    def _end_close_frame(self) -> None:
        """Read the code if the frame is complete."""
        if self._payload_left or self._close_payload is None:
            return
        payload, self._close_payload = bytes(self._close_payload), None
        code = bytes(byte ^ mask for byte, mask in zip(payload, self._mask, strict=False))
        self.close_code = int.from_bytes(code, "big") if len(code) == 2 else _NO_STATUS


def _header_size(header: bytes) -> int | None:
    """The size of a frame's header in bytes; None if `header` is too short to tell, or incomplete."""
    if len(header) < 2:
        return None
    length = header[1] & 0x7F
    size = 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if header[1] & 0x80 else 0)
    return size if len(header) >= size else None


def _payload_size(header: bytes) -> int:
    length = header[1] & 0x7F
    if length == 126:
        return int.from_bytes(header[2:4], "big")
    return int.from_bytes(header[2:10], "big") if length == 127 else length

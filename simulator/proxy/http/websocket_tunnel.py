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
_MAX_HEADER_BYTES = 14  # 2, an 8-byte length and a 4-byte mask
_NO_STATUS = 1005  # RFC 6455, 7.4.1: a close frame without a code


class GoAway(events.Event):
    """The machine of this WebSocket is about to be stopped."""


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
        self._client = client
        self._machine = machine
        self._on_close = on_close
        self._bytes_before_reset = bytes_before_reset
        self._from_client = FrameScanner()
        self._from_machine = FrameScanner()
        self._closed = False
        self._is_going_away = False
        """Whether the proxy's own close frame is to be sent."""
        self._has_gone_away = False
        """Whether it has been sent: nothing follows it, and the client's close frame ends the connection."""

    def owns(self, connection: Connection) -> bool:
        return connection is self._client or connection is self._machine

    def pass_on(self, event: events.ConnectionEvent) -> layer.CommandGenerator[None]:
        from_client = event.connection is self._client
        if isinstance(event, events.DataReceived):
            if from_client:
                yield self.send(event.data, from_client=True)
            else:
                yield from self._pass_on_from_machine(event.data)
            if self._has_gone_away and self._from_client.close_code is not None:
                yield from self.close()
        elif isinstance(event, events.ConnectionClosed):
            if self._has_gone_away and not from_client:  # the client's close frame is still to come
                yield commands.CloseConnection(self._machine)
            else:
                yield from self.close()

    def _pass_on_from_machine(self, data: bytes) -> layer.CommandGenerator[None]:
        if self._has_gone_away:
            return
        passed = self._bytes_before_reset(len(data))
        data = data[:passed]
        if self._is_going_away:
            end = self._from_machine.next_boundary(data)
            yield self.send(data[:end], from_client=False)
            if end is not None:
                yield from self.go_away()
        else:
            yield self.send(data, from_client=False)
        if passed is not None:
            yield from self.close()

    def send(self, data: bytes, *, from_client: bool) -> commands.SendData:
        """The command that sends `data` to the other side."""
        if from_client:
            self._from_client.scan(data)
            return commands.SendData(self._machine, data)
        self._from_machine.scan(data)
        return commands.SendData(self._client, data)

    def go_away(self) -> layer.CommandGenerator[None]:
        """Send the client a close frame, at the next boundary between two of the machine's frames (F-5.36).

        Nothing follows it (RFC 6455, 5.5.1). The client has some seconds to send its own close frame.
        """
        if self._closed or self._has_gone_away or self._from_machine.close_code is not None:
            return
        self._is_going_away = True
        if self._from_machine.at_boundary:
            self._has_gone_away = True
            self._from_machine.scan(GO_AWAY_FRAME)
            yield commands.SendData(self._client, GO_AWAY_FRAME)
            yield commands.RequestWakeup(CLOSE_SECONDS)

    def close(self) -> layer.CommandGenerator[None]:
        """Close both connections."""
        if self._closed:
            return
        self._closed = True
        yield commands.CloseConnection(self._machine)
        yield commands.CloseConnection(self._client)
        self._on_close(self._from_client.close_code or self._from_machine.close_code)


class FrameScanner:
    """Finds frame boundaries and the close code in one direction of a WebSocket."""

    def __init__(self) -> None:
        self._header = b""
        self._payload_left = 0
        self._close_payload: bytearray | None = None
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

    def scan(self, data: bytes) -> None:
        """Process the next bytes of the stream."""
        position, end = 0, len(data)
        while position < end or (self._payload_left == 0 and self._close_payload is not None):
            if self._payload_left or self._close_payload is not None:
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
                return  # the header continues in the next piece of data
            # The slice above may include payload: step back to the end of the header.
            position = min(position + _MAX_HEADER_BYTES, end) - (len(self._header) - size)
            self._begin_frame(self._header[:size])
            self._header = b""

    def _begin_frame(self, header: bytes) -> None:
        self.frames += 1
        self._payload_left = _payload_size(header)
        if header[0] & 0x0F == OPCODE_CLOSE:
            self._mask = header[-4:] if header[1] & 0x80 else bytes(4)
            self._close_payload = bytearray()

    def _skip_payload(self, data: bytes, position: int) -> int:
        """Returns the position after the payload, or the end of `data` if the payload continues."""
        size = min(self._payload_left, len(data) - position)
        self._payload_left -= size
        if self._close_payload is not None:
            self._close_payload += data[position : position + size]
            if self._payload_left == 0:
                self._read_close_code(bytes(self._close_payload))
                self._close_payload = None
        return position + size

    def _read_close_code(self, payload: bytes) -> None:
        code = bytes(byte ^ mask for byte, mask in zip(payload[:2], self._mask, strict=False))
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

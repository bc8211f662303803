"""Follows the WebSocket frames in a stream of bytes, just enough to know frame boundaries and the close code.

Frame layout: RFC 6455, section 5.2. Payloads are skipped, not decoded.
"""

from __future__ import annotations

OPCODE_CLOSE = 0x8
_NO_STATUS = 1005  # RFC 6455, 7.4.1: a close frame without a code


class FrameScanner:
    """One direction of a WebSocket."""

    def __init__(self) -> None:
        self._head = b""
        self._payload_left = 0
        self._close_frame: bytearray | None = None
        self._mask = b""
        self.frames = 0
        self.close_code: int | None = None

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._head and self._payload_left == 0

    def scan(self, data: bytes) -> None:
        """Take note of the next bytes of the stream."""
        position, end = 0, len(data)
        while position < end or (self._payload_left == 0 and self._close_frame is not None):
            if self._payload_left or self._close_frame is not None:
                position = self._skip_payload(data, position)
                continue
            self._head += data[position : position + 14]
            size = self._head_size()
            if size is None:
                return  # the head goes on in the next bytes
            # Of what was put to the head, give back what is payload.
            position = min(position + 14, end) - (len(self._head) - size)
            self._begin_frame(self._head[:size])
            self._head = b""

    def _head_size(self) -> int | None:
        head = self._head
        if len(head) < 2:
            return None
        length = head[1] & 0x7F
        size = 2 + (2 if length == 126 else 8 if length == 127 else 0) + (4 if head[1] & 0x80 else 0)
        return size if len(head) >= size else None

    def _begin_frame(self, head: bytes) -> None:
        self.frames += 1
        length = head[1] & 0x7F
        if length == 126:
            length = int.from_bytes(head[2:4], "big")
        elif length == 127:
            length = int.from_bytes(head[2:10], "big")
        self._payload_left = length
        if head[0] & 0x0F == OPCODE_CLOSE:
            self._mask = head[-4:] if head[1] & 0x80 else bytes(4)
            self._close_frame = bytearray()

    def _skip_payload(self, data: bytes, position: int) -> int:
        """Returns the position behind the payload, or behind what there is of it."""
        size = min(self._payload_left, len(data) - position)
        self._payload_left -= size
        if self._close_frame is not None:
            self._close_frame += data[position : position + size]
            if self._payload_left == 0:
                self._read_close_code(bytes(self._close_frame))
                self._close_frame = None
        return position + size

    def _read_close_code(self, payload: bytes) -> None:
        code = bytes(byte ^ mask for byte, mask in zip(payload[:2], self._mask, strict=False))
        self.close_code = int.from_bytes(code, "big") if len(code) == 2 else _NO_STATUS

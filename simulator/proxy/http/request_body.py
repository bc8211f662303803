"""Request body buffer: keeps a body up to the replay limit, so that it can be sent again (F-1.32, F-1.36)."""

from __future__ import annotations

from simulator.routing import Fields

_MERGED_BYTES = 16 * 1024
"""Pieces up to this size become one: a body that arrives byte by byte would need many times its size."""


class RequestBody:
    """The part of one request's body that has arrived so far."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.chunks: list[bytes] = []
        """What the next machine gets first, before any data that arrives later."""
        self.size_bytes = 0
        self.trailers: Fields = ()
        """Fields that follow the body."""
        self.exists = False
        self.is_complete = False
        self._missing_bytes = 0
        self.is_replayable = True
        """Whether the body is within the limit, so that a replay may send it again."""
        self.is_discarded = False
        """Whether some of it was sent and not kept, so that it cannot be sent again."""

    def declare(self, declared_bytes: int, *, exists: bool) -> None:
        """Apply the request head: a body declared above the limit is not replayable, however little has arrived."""
        self.exists = exists
        self._missing_bytes = declared_bytes
        self.is_replayable = declared_bytes <= self._limit_bytes

    @property
    def is_short(self) -> bool:
        """Whether less has arrived than was declared."""
        return self._missing_bytes > 0

    def append(self, data: bytes, *, is_sending: bool) -> None:
        """Add data that arrived. `is_sending`: it has been sent to a machine already."""
        self._missing_bytes -= len(data)
        if self.is_replayable or not is_sending:
            if self.chunks and len(self.chunks[-1]) + len(data) <= _MERGED_BYTES:
                self.chunks[-1] += data
            else:
                self.chunks.append(data)
            self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:  # the limit applies to what was read
            self.is_replayable = False
            if is_sending:
                self._discard()

    def mark_sent(self) -> None:
        """A machine has all the chunks: discard them unless a replay may need them."""
        if not self.is_replayable:
            self._discard()

    def exceeds_limit(self, size_bytes: int) -> bool:
        """Whether a body of this size is larger than what is kept for replays."""
        return size_bytes > self._limit_bytes

    def _discard(self) -> None:
        self.chunks.clear()
        self.is_discarded = True

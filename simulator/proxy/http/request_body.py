"""A request's body on its way: sent on as it comes, and kept up to the limit to be sent again (F-1.32, F-1.36)."""

from __future__ import annotations


class RequestBody:
    """What has come of one request's body so far."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.pieces: list[bytes] = []
        """To be sent to the next machine, before anything that still comes."""
        self.size_bytes = 0
        self.exists = False
        self.is_complete = False
        self.is_kept = True
        """Within the limit: a replay may send it again."""
        self.is_lost = False
        """Some of it was sent and not kept: nothing may send it again."""

    def announce(self, declared_bytes: int, *, exists: bool) -> None:
        """What the head says of it: a body that will be too large cannot be replayed, however little has come."""
        self.exists = exists
        self.is_kept = declared_bytes <= self._limit_bytes

    def take(self, data: bytes, *, is_sending: bool) -> None:
        """Some more came; `is_sending`: a machine has had it already."""
        if self.is_kept or not is_sending:
            self.pieces.append(data)
            self.size_bytes += len(data)
        if self.size_bytes > self._limit_bytes:  # what counts is what was read
            self.is_kept = False
            if is_sending:
                self._lose()

    def was_sent(self) -> None:
        """A machine has had all that is here: what may not be replayed need not be kept."""
        if not self.is_kept:
            self._lose()

    def is_too_much(self, more_bytes: int) -> bool:
        """Whether, with so many bytes more, it is larger than may ever be sent again."""
        return self.size_bytes + more_bytes > self._limit_bytes

    def _lose(self) -> None:
        self.pieces.clear()
        self.is_lost = True

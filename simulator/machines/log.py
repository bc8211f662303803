"""Log pipes: the output of machines, split into lines, in the order in which it is written.

The event loop reads a pipe as soon as it is readable, without a task or a queue in between, so that the lines of
several machines stay in order. When a process exits, the rest of its pipe is read at once, so that its last lines come
before its exit is reported.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

MAX_LINE_BYTES = 65_536
"""A longer line is split into pieces."""

_READ_BYTES = 65_536
_MAX_DRAINS = 32  # A process that outlives its machine may never stop writing; one read empties a pipe.


class LineSplitter:
    """Splits bytes into lines that end with LF or CR LF, decoded as UTF-8; invalid bytes appear as `\\xff`."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes, and the pieces of a line that is too long."""
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._rest += part
            lines += self._cut_pieces()
            lines += self.flush(keep_empty=True)
        self._rest += rest
        return lines + self._cut_pieces()

    def flush(self, *, keep_empty: bool = False) -> list[str]:
        """The last line if it has no line end yet, else nothing; with `keep_empty` also an empty line."""
        if not self._rest and not keep_empty:
            return []
        line = self._rest.removesuffix(b"\r").decode(errors="backslashreplace")
        self._rest.clear()
        return [line]

    def _cut_pieces(self) -> list[str]:
        pieces = []
        while len(self._rest) > self._max_bytes:
            end = self._end_of_piece()
            pieces.append(self._rest[:end].decode(errors="backslashreplace"))
            del self._rest[:end]
        return pieces

    def _end_of_piece(self) -> int:
        """The length of the next piece, which does not split a character."""
        for end in range(self._max_bytes, max(0, self._max_bytes - 4), -1):
            if self._rest[end] & 0b1100_0000 != 0b1000_0000:
                return end
        return self._max_bytes


class LogPipe:
    """The pipe of one output stream: the process writes to `writing_end`, `emit` receives the lines."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._lines = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        self._loop.add_reader(self._reading_end, self._read)
        self._is_open = True

    def close_writing_end(self) -> None:
        """Called once the process has its own copy: the pipe then ends when the last process that holds it exits."""
        os.close(self.writing_end)

    def drain(self) -> None:
        """Read what the pipe holds now, and emit an unfinished line too."""
        for _ in range(_MAX_DRAINS):
            if not self._is_open or not self._read():
                break
        self._emit_all(self._lines.flush())

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._reading_end)
            os.close(self._reading_end)
            self._emit_all(self._lines.flush())

    def _read(self) -> bool:
        """Read once. Returns whether there was data."""
        try:
            data = os.read(self._reading_end, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
            return False
        self._emit_all(self._lines.feed(data))
        return True

    def _emit_all(self, lines: list[str]) -> None:
        for line in lines:
            self._emit(line)

"""What machines write, line by line, in the order in which it is written.

The pipe is read the moment it can be, without a task or a queue between, so that the lines of several machines
stay in order. When the process is gone, what it left in the pipe is read at once, so that its last words come
before the news of its end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

MAX_LINE_BYTES = 65_536
"""A longer line is cut into pieces."""

_READ_BYTES = 65_536
_MAX_DRAINS = 32  # A process that outlives its machine could write for ever; a pipe holds one of these reads.


class LineSplitter:
    """Bytes in, lines out: UTF-8, whatever is none replaced; LF or CR LF ends a line."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that are now complete, and the pieces of one that grew too long."""
        *whole, rest = data.split(b"\n")
        lines = []
        for part in whole:
            self._rest += part
            lines += self._cut_pieces()
            lines += self.flush(keep_empty=True)
        self._rest += rest
        return lines + self._cut_pieces()

    def flush(self, *, keep_empty: bool = False) -> list[str]:
        """The line that has not ended yet, if there is any."""
        if not self._rest and not keep_empty:
            return []
        line = self._rest.removesuffix(b"\r").decode(errors="replace")
        self._rest.clear()
        return [line]

    def _cut_pieces(self) -> list[str]:
        pieces = []
        while len(self._rest) > self._max_bytes:
            end = self._end_of_piece()
            pieces.append(self._rest[:end].decode(errors="replace"))
            del self._rest[:end]
        return pieces

    def _end_of_piece(self) -> int:
        """As many bytes as a piece may have, without cutting a character in two."""
        for end in range(self._max_bytes, max(0, self._max_bytes - 4), -1):
            if self._rest[end] & 0b1100_0000 != 0b1000_0000:
                return end
        return self._max_bytes


class LogPipe:
    """One output of a process: its writing end is for the process, its lines go to `emit`."""

    def __init__(self, emit: Callable[[str], None]) -> None:
        self._emit = emit
        self._lines = LineSplitter()
        self._loop = asyncio.get_running_loop()
        self._reading_end, self.writing_end = os.pipe()
        os.set_blocking(self._reading_end, False)
        self._loop.add_reader(self._reading_end, self._read)
        self._is_open = True

    def close_writing_end(self) -> None:
        """Once the process has its own copy; from then on the pipe ends with the last process that writes to it."""
        os.close(self.writing_end)

    def drain(self) -> None:
        """Read what is there now, and take it for whole lines."""
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
        """Whether there was anything."""
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

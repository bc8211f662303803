"""TOML scanner for the positions of keys, because `tomllib` returns values without positions.

The input has already been parsed by `tomllib`, so the scanner does not validate it again: it stops at the first
construct that it does not recognize and keeps the positions found so far. Grammar: TOML 1.0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress

KeyPath = tuple[str | int, ...]
"""Path to a value: keys of tables and 0-based indexes of arrays."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[^\s.=\]\"'#]+")
_STRING = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


class _ScanError(Exception):
    """The scanner does not recognize the text at its position."""


def locate_keys(text: str) -> dict[KeyPath, tuple[int, int]]:
    """Returns the 1-based line and column of every key, table header and array element."""
    scanner = _Scanner(text)
    with suppress(_ScanError, tomllib.TOMLDecodeError, RecursionError):
        scanner.read_document()
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    positions = {}
    for path, offset in scanner.offsets.items():
        line = bisect_right(starts, offset)
        positions[path] = (line, offset - starts[line - 1] + 1)
    return positions


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._lengths: dict[KeyPath, int] = {}  # Number of tables so far in each array of tables.
        self.offsets: dict[KeyPath, int] = {}

    def read_document(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._next_is("["):
                table = self._read_header()
            else:
                self._read_pair(table)
            self._skip(_BLANK)

    def _read_header(self) -> KeyPath:
        start = self._at
        brackets = 2 if self._next_is("[[") else 1
        self._at += brackets
        keys = self._read_keys()
        self._at += brackets
        return self._open_table(keys, start, is_array=brackets == 2)

    def _open_table(self, keys: list[str], start: int, *, is_array: bool) -> KeyPath:
        path: KeyPath = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            self.offsets.setdefault(path, start)
            if is_array and index == len(keys) - 1:
                self._lengths[path] = self._lengths.get(path, 0) + 1
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
                self.offsets.setdefault(path, start)
        return path

    def _read_pair(self, table: KeyPath) -> None:
        start = self._at
        path = table
        for key in self._read_keys():
            path = (*path, key)
            self.offsets.setdefault(path, start)
        self._expect("=")
        self._skip(_SPACE)
        self._read_value(path)

    def _read_keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._read_key())
            self._skip(_SPACE)
            if not self._next_is("."):
                return keys
            self._at += 1

    def _read_key(self) -> str:
        if self._next_is('"') or self._next_is("'"):
            return str(tomllib.loads(f"key = {self._take(_STRING)}")["key"])
        return self._take(_BARE_KEY)

    def _read_value(self, path: KeyPath) -> None:
        if self._next_is("["):
            self._read_array(path)
        elif self._next_is("{"):
            self._read_inline_table(path)
        elif self._next_is('"') or self._next_is("'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _read_array(self, path: KeyPath) -> None:
        self._at += 1
        index = 0
        while not self._take_closing("]"):
            self.offsets[(*path, index)] = self._at
            self._read_value((*path, index))
            index += 1

    def _read_inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while not self._take_closing("}"):
            self._read_pair(path)

    def _take_closing(self, bracket: str) -> bool:
        """Skips blanks, comments and a comma. If the closing bracket follows, consumes it and returns True."""
        self._skip(_BLANK)
        if self._next_is(","):
            self._at += 1
            self._skip(_BLANK)
        if not self._next_is(bracket):
            return False
        self._at += 1
        return True

    def _next_is(self, text: str) -> bool:
        return self._text.startswith(text, self._at)

    def _expect(self, text: str) -> None:
        if not self._next_is(text):
            raise _ScanError
        self._at += len(text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _ScanError
        self._at = match.end()
        return match.group()

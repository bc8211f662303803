"""Source positions: the file that data was read from, and the line and column of each key.

Validation works on plain dicts and lists. A `Source` comes with the data, so that errors can name a line.
"""

from __future__ import annotations

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from simulator.config.toml_positions import KeyPath, locate_keys
from simulator.errors import InputError

_TOMLLIB_POSITION = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
MAX_KEY_PARTS = 100
_DEEP_KEY = re.compile(
    r"""(?:^|[\[{,])[ \t]*(?:(?:[\w-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*')[ \t]*\.[ \t]*)"""
    f"{{{MAX_KEY_PARTS}}}",
    re.MULTILINE,
)
_MAX_QUOTED = 60


class Source(Protocol):
    """Path and positions of a document. A key without a position gets that of the closest enclosing table."""

    @property
    def path(self) -> Path: ...

    def line(self, key_path: KeyPath) -> int | None: ...

    def column(self, key_path: KeyPath) -> int | None: ...


class PathSource:
    """A document without positions: only its path is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, key_path: KeyPath) -> int | None:
        return None

    def column(self, key_path: KeyPath) -> int | None:
        return None


class TomlSource:
    """A TOML document. Positions are computed on first use."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text

    @cached_property
    def _positions(self) -> dict[KeyPath, tuple[int, int]]:
        return locate_keys(self._text)

    def _position(self, key_path: KeyPath) -> tuple[int, int] | None:
        """The position of the key, or else of the closest table that contains it; the root table is on line 1."""
        if not key_path:
            return 1, 1
        for length in range(len(key_path), 0, -1):
            if key_path[:length] in self._positions:
                return self._positions[key_path[:length]]
        return None

    def line(self, key_path: KeyPath) -> int | None:
        position = self._position(key_path)
        return position[0] if position else None

    def column(self, key_path: KeyPath) -> int | None:
        position = self._position(key_path)
        return position[1] if position else None


def read_toml(path: Path) -> tuple[dict[str, Any], TomlSource]:
    """Returns the parsed file and its positions. Raises InputError if it cannot be read or is not valid TOML."""
    text = _read_text(path)
    _check_depth(path, text)
    try:
        return tomllib.loads(text), TomlSource(path, text)
    except RecursionError:
        raise InputError("too many nested brackets", path=path) from None
    except ValueError as error:
        raise _syntax_error(path, text, str(error)) from None


def _check_depth(path: Path, text: str) -> None:
    """tomllib needs time and memory with the square of a key's parts: 2 GB for a key of 40 kB."""
    found = _DEEP_KEY.search(text)
    if found is not None:
        start = found.end()
        line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
        raise InputError(
            f"a key with more than {MAX_KEY_PARTS} parts",
            path=path,
            line=line,
            column=column,
            expected=f"at most {MAX_KEY_PARTS} names, joined by dots",
        )


def _read_text(path: Path) -> str:
    try:
        # tomllib does not accept a byte order mark.
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise InputError(problem, path=path, line=line, expected="a TOML file encoded in UTF-8") from None
    except FileNotFoundError:
        raise InputError(f"file not found in {path.resolve().parent}", path=path) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot read the file: {reason}", path=path) from None


def _syntax_error(path: Path, text: str, message: str) -> InputError:
    """tomllib's message, with the position moved from its end to the front."""
    match = _TOMLLIB_POSITION.fullmatch(message)
    if match is None:
        return InputError(f"invalid TOML: {message}", path=path)
    problem, line, column = match.groups()
    problem = f"invalid TOML: {problem[:1].lower()}{problem[1:]}"
    if line is None:
        return InputError(f"{problem} at the end of the file", path=path, line=text.count("\n") + 1)
    lines = text.split("\n")
    quoted = lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    if path.resolve().suffix != ".toml":
        quoted = ""  # `fly_toml` may name any file: its content is nobody's business
    if len(quoted) > _MAX_QUOTED:
        quoted = f"{quoted[:_MAX_QUOTED]}…"
    problem = f"{problem}, in `{quoted}`" if quoted else problem
    return InputError(problem, path=path, line=int(line), column=int(column))

"""A document that configuration was read from, and where in it each key stands.

The parsers below work on plain dicts and lists; whoever made those brings a `Source`, so that errors name a line.
"""

from __future__ import annotations

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from simulator.config.toml_positions import KeyPath, locate_keys
from simulator.errors import InputError

_TOMLLIB_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


class Source(Protocol):
    """Where the data came from. A line is that of the key, or of the nearest table around it that has one."""

    @property
    def path(self) -> Path: ...

    def line(self, key_path: KeyPath) -> int | None: ...

    def column(self, key_path: KeyPath) -> int | None: ...


class PathSource:
    """A document of which only the path is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def line(self, key_path: KeyPath) -> int | None:
        return None

    def column(self, key_path: KeyPath) -> int | None:
        return None


class TomlSource:
    """A TOML text; places are looked for only once somebody asks."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text

    @cached_property
    def _places(self) -> dict[KeyPath, tuple[int, int]]:
        return locate_keys(self._text)

    def _place(self, key_path: KeyPath) -> tuple[int, int] | None:
        for length in range(len(key_path), 0, -1):
            if key_path[:length] in self._places:
                return self._places[key_path[:length]]
        return None

    def line(self, key_path: KeyPath) -> int | None:
        place = self._place(key_path)
        return place[0] if place else None

    def column(self, key_path: KeyPath) -> int | None:
        place = self._place(key_path)
        return place[1] if place else None


def read_toml(path: Path) -> tuple[dict[str, Any], TomlSource]:
    """Raises InputError for a file that cannot be read or is no TOML."""
    text = _read_text(path)
    try:
        return tomllib.loads(text), TomlSource(path, text)
    except RecursionError:
        raise InputError("brackets are nested too deeply to be read", path=path) from None
    except ValueError as error:
        raise _syntax_error(path, text, str(error)) from None


def _read_text(path: Path) -> str:
    try:
        # A byte order mark is no part of the text, though tomllib thinks so.
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise InputError(
            problem, path=path, line=line, expected="a TOML file, which is always UTF-8"
        ) from None
    except FileNotFoundError:
        raise InputError(f"there is no such file in {path.resolve().parent}", path=path) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"cannot be read: {reason}", path=path) from None


def _syntax_error(path: Path, text: str, words: str) -> InputError:
    """tomllib's own words, with its place taken out of them and put in front."""
    match = _TOMLLIB_PLACE.fullmatch(words)
    if match is None:
        return InputError(f"not TOML: {words}", path=path)
    problem, line, column = match.groups()
    problem = f"not TOML: {problem[:1].lower()}{problem[1:]}"
    if line is None:
        return InputError(f"{problem}, and the file ends", path=path, line=text.count("\n") + 1)
    lines = text.split("\n")
    read = lines[int(line) - 1].strip() if int(line) <= len(lines) else ""
    problem = f"{problem}, in `{read}`" if read else problem
    return InputError(problem, path=path, line=int(line), column=int(column))

"""Error collection for input files, and the wording of values and keys in messages.

Errors are collected so that one run reports all of them.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath
from simulator.errors import InputError

_SHOWN_CHARACTERS = 60


class InputErrors(InputError):
    """Several errors in one exception; its position and `expected` are those of the first."""

    def __init__(self, errors: tuple[InputError, ...]) -> None:
        self.errors = errors
        first = errors[0]
        super().__init__(
            first.problem, path=first.path, line=first.line, column=first.column, expected=first.expected
        )

    def _text(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Problems:
    """The errors that were found so far."""

    def __init__(self) -> None:
        self._errors: list[InputError] = []

    def add(self, problem: str, source: Source, at: KeyPath, *, expected: str | None = None) -> None:
        line, column = source.line(at), source.column(at)
        self.take(InputError(problem, path=source.path, line=line, column=column, expected=expected))

    def take(self, error: InputError) -> None:
        self._errors.append(error)

    def raise_if_any(self) -> None:
        """Raises InputError with all errors, sorted by file and line."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise InputErrors(tuple(sorted(self._errors, key=_position)))


def _position(error: InputError) -> tuple[str, int, int]:
    return str(error.path), error.line or 0, error.column or 0


def name_key(path: KeyPath) -> str:
    """Formats a key path as in `apps.chat.machines[0].region`."""
    name = ""
    for key in path:
        if isinstance(key, int):
            name += f"[{key}]"
        else:
            name += f".{key}" if name else key
    return name


def describe(value: object) -> str:
    """Formats a value for an error message: a scalar as in the file, shortened; a container by its type."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, str):
        shown = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
        return json.dumps(shown, ensure_ascii=False)
    if isinstance(value, int) and abs(value) > 10**15:
        return "a very large number"  # Python refuses to print integers of more than 4300 digits.
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, dict):
        return "a table" if value else "an empty table"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else f"a list of {len(value)} item{'s' if len(value) > 1 else ''}"
    return f"{value}"


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "region"?`, or an empty string if no known word is close."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""

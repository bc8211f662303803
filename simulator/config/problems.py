"""Everything that is wrong with a configuration, gathered so that one run tells all of it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable

from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath
from simulator.errors import InputError

_SHOWN_CHARACTERS = 60


class InputErrors(InputError):
    """Several things wrong at once; place and expectation are those of the first."""

    def __init__(self, errors: tuple[InputError, ...]) -> None:
        self.errors = errors
        first = errors[0]
        super().__init__(
            first.problem, path=first.path, line=first.line, column=first.column, expected=first.expected
        )

    def _text(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Problems:
    """What has been found wrong so far."""

    def __init__(self) -> None:
        self._errors: list[InputError] = []

    def add(self, problem: str, source: Source, at: KeyPath, *, expected: str | None = None) -> None:
        place = (source.line(at), source.column(at))
        self.take(InputError(problem, path=source.path, line=place[0], column=place[1], expected=expected))

    def take(self, error: InputError) -> None:
        self._errors.append(error)

    def raise_if_any(self) -> None:
        """Raises InputError, in the order of the lines."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise InputErrors(tuple(sorted(self._errors, key=_place)))


def _place(error: InputError) -> tuple[str, int, int]:
    return str(error.path), error.line or 0, error.column or 0


def name_key(path: KeyPath) -> str:
    """`apps.chat.machines[0].region`"""
    name = ""
    for key in path:
        if isinstance(key, int):
            name += f"[{key}]"
        else:
            name += f".{key}" if name else key
    return name


def describe(value: object) -> str:
    """A value as its reader wrote it, more or less."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, str):
        shown = value if len(value) <= _SHOWN_CHARACTERS else f"{value[:_SHOWN_CHARACTERS]}…"
        return json.dumps(shown, ensure_ascii=False)
    if isinstance(value, int) and abs(value) > 10**15:
        return "a very large number"  # Python refuses to print some
    if isinstance(value, int | float):
        return f"{value}"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list | tuple):
        return "an empty list" if not value else f"a list of {len(value)}"
    return f"{value}"


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "region"?`, or nothing if no known word is near."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""

"""Comparison of strings, JSON and WebSocket messages with expected ones; differences become `Mismatch` values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from simulator.results import Mismatch
from simulator.scenario.expectations.schema import MessageMatch, TextMatch
from simulator.text import escape

_MAX_QUOTED = 300


def quote(text: str) -> str:
    """Quote a string for a message; truncate it after 300 characters."""
    rest = f"… ({len(text)} characters)" if len(text) > _MAX_QUOTED else ""
    return f'"{escape(text[:_MAX_QUOTED])}{rest}"'


def text_mismatches(what: str, match: TextMatch, actual: str) -> Iterator[Mismatch]:
    if match.equals is not None and actual != match.equals:
        yield Mismatch(what, quote(match.equals), quote(actual))
    for part in match.contains or ():
        if part not in actual:
            yield Mismatch(what, f"text that contains {quote(part)}", quote(actual))
    for part in match.not_contains or ():
        if part in actual:
            yield Mismatch(what, f"text that does not contain {quote(part)}", _excerpt(actual, part))
    if match.matches is not None and not re.search(match.matches, actual):
        yield Mismatch(what, f"text that matches /{match.matches}/", quote(actual))


def _excerpt(text: str, part: str) -> str:
    at = text.index(part)
    return f"… {quote(text[max(0, at - 60) : at + len(part) + 60])} …"


def is_match(match: TextMatch, actual: str) -> bool:
    return next(text_mismatches("", match, actual), None) is None


def json_mismatches(what: str, expected: Any, actual: Any) -> Iterator[Mismatch]:
    """Compare JSON values. `actual` may have more keys than `expected`; lists must have the same length."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, value in expected.items():
            if key in actual:
                yield from json_mismatches(f"{what}.{key}", value, actual[key])
            else:
                yield Mismatch(
                    f"{what}.{key}",
                    format_json(value),
                    f"no such key; the keys are {', '.join(actual)}"
                    if actual
                    else "no such key; the object is empty",
                )
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (one, other) in enumerate(zip(expected, actual, strict=True)):
            yield from json_mismatches(f"{what}[{index}]", one, other)
    elif expected != actual or isinstance(expected, bool) != isinstance(actual, bool):
        yield Mismatch(what, format_json(expected), format_json(actual))


def format_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def message_mismatches(what: str, match: MessageMatch, message: str | bytes) -> Iterator[Mismatch]:
    if match.binary is not None and match.binary != isinstance(message, bytes):
        yield Mismatch(
            what, "a binary message" if match.binary else "a text message", format_message(message)
        )
    if match.bytes_ is not None and not (isinstance(message, bytes) and len(message) == match.bytes_):
        yield Mismatch(what, f"a binary message of {match.bytes_} bytes", format_message(message))
    text = message if isinstance(message, str) else message.decode("utf-8", "replace")
    yield from text_mismatches(what, match, text)
    if "json_" in match.model_fields_set:
        try:
            data = json.loads(text)
        except ValueError:
            yield Mismatch(what, format_json(match.json_), f"not JSON: {format_message(message)}")
        else:
            yield from json_mismatches(what, match.json_, data)


def format_message(message: str | bytes) -> str:
    return quote(message) if isinstance(message, str) else f"a binary message of {len(message)} bytes"


def describe_match(match: TextMatch, exactly: str = "") -> str:
    """Describe a match, as in `contains "a" and matches /b/`. `exactly`: prefix of an exact string, such as `is `."""
    parts = []
    if match.equals is not None:
        parts.append(f"{exactly}{quote(match.equals)}")
    parts += [f"contains {quote(part)}" for part in match.contains or ()]
    parts += [f"does not contain {quote(part)}" for part in match.not_contains or ()]
    if match.matches is not None:
        parts.append(f"matches /{match.matches}/")
    if isinstance(match, MessageMatch) and "json_" in match.model_fields_set:
        parts.append(f"is JSON with {format_json(match.json_)}")
    if isinstance(match, MessageMatch) and match.binary is not None:
        parts.append("is binary" if match.binary else "is text")
    if isinstance(match, MessageMatch) and match.bytes_ is not None:
        parts.append(f"is {match.bytes_} bytes long")
    return " and ".join(parts)

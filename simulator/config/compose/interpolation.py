"""`${VARIABLE:-default}` in a Compose file, as Compose itself fills it in.

Source: the Compose specification, "Interpolation". A variable that is not set and has no default is an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SIGN = re.compile(rf"\$(?:(?P<escaped>\$)|(?P<plain>{_NAME})|(?P<brace>\{{(?P<name>{_NAME})))")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class InterpolationError(ValueError):
    """The text says what is wrong, as a predicate."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Raises InterpolationError."""
    filled, at = [], 0
    while (start := text.find("$", at)) >= 0:
        filled.append(text[at:start])
        match = _SIGN.match(text, start)
        if match is None:
            raise InterpolationError("has a $ that begins no variable; write $$ for a $ of its own")
        if match["brace"]:
            value, at = _fill_in_braces(text, match, variables)
        else:
            value = "$" if match["escaped"] else variables.get(match["plain"], "")
            at = match.end()
        filled.append(value)
    return "".join([*filled, text[at:]])


def _fill_in_braces(text: str, match: re.Match[str], variables: Mapping[str, str]) -> tuple[str, int]:
    """The value, and where the text goes on."""
    end = _find_end(text, match.end())
    inside, name = text[match.end() : end], match["name"]
    operator = next((each for each in _OPERATORS if inside.startswith(each)), None)
    if operator is None and inside:
        raise InterpolationError(f"has ${{{name}{inside}}}, which is no variable with a default")
    words = inside.removeprefix(operator or "")
    return _choose(name, operator or "", words, variables), end + 1


def _choose(name: str, operator: str, words: str, variables: Mapping[str, str]) -> str:
    value = variables.get(name)
    is_there = bool(value) if operator.startswith(":") else value is not None
    match operator[-1:]:
        case "-" if not is_there:
            return interpolate(words, variables)
        case "?" if not is_there:
            raise InterpolationError(f"needs the variable {name}: {words or 'it is not set'}")
        case "+":
            return interpolate(words, variables) if is_there else ""
    return value or ""


def _find_end(text: str, start: int) -> int:
    """Of the braces that were opened before `start`; defaults may have braces of their own."""
    depth = 1
    for at in range(start, len(text)):
        if text.startswith("${", at - 1):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    raise InterpolationError("has a ${ that is not closed")

"""Variable interpolation in Compose files: `$VARIABLE`, `${VARIABLE:-default}` and the other forms.

A variable that is not set and has no default becomes an empty string. Source: Compose specification, "Interpolation".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(rf"\$(?:(?P<escaped>\$)|(?P<plain>{_NAME})|(?P<brace>\{{(?P<name>{_NAME})))")
_OPERATORS = (":-", ":?", ":+", "-", "?", "+")


class InterpolationError(ValueError):
    """The message is a predicate, such as `needs the variable X`: the key's name precedes it."""


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """Returns `text` with its variables replaced. Raises InterpolationError."""
    parts, at = [], 0
    while (start := text.find("$", at)) >= 0:
        parts.append(text[at:start])
        match = _VARIABLE.match(text, start)
        if match is None:
            raise InterpolationError("has a $ without a variable name; write $$ for a literal $")
        if match["brace"]:
            value, at = _interpolate_braces(text, match, variables)
        else:
            value = "$" if match["escaped"] else variables.get(match["plain"], "")
            at = match.end()
        parts.append(value)
    return "".join([*parts, text[at:]])


def _interpolate_braces(text: str, match: re.Match[str], variables: Mapping[str, str]) -> tuple[str, int]:
    """Returns the value and the offset after the closing brace."""
    end = _find_closing_brace(text, match.end())
    inside, name = text[match.end() : end], match["name"]
    operator = next((each for each in _OPERATORS if inside.startswith(each)), None)
    if operator is None and inside:
        raise InterpolationError(f"has ${{{name}{inside}}}, which is not a valid variable")
    operand = inside.removeprefix(operator or "")
    return _evaluate(name, operator or "", operand, variables), end + 1


def _evaluate(name: str, operator: str, operand: str, variables: Mapping[str, str]) -> str:
    """Operators with a colon treat an empty variable as not set."""
    value = variables.get(name)
    is_set = bool(value) if operator.startswith(":") else value is not None
    match operator[-1:]:
        case "-" if not is_set:
            return interpolate(operand, variables)
        case "?" if not is_set:
            raise InterpolationError(f"needs the variable {name}: {operand or 'it is not set'}")
        case "+":
            return interpolate(operand, variables) if is_set else ""
    return value or ""


def _find_closing_brace(text: str, start: int) -> int:
    """The brace that closes the one before `start`; defaults may contain nested variables."""
    depth = 1
    for at in range(start, len(text)):
        if text.startswith("${", at - 1):
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if depth == 0:
                return at
    raise InterpolationError("has a ${ without a closing brace")

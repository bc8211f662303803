"""Placeholders in a scenario's texts: `{dfw-1.id}`, `{edge.ams}`, `{token}` for something captured.

Only a brace with a name in it is a placeholder, so that JSON (`{"a": 1}`), regular expressions (`[0-9]{3}`) and
shell variables (`${HOME}`) can be written as they are. `{{name}}` stands for a literal `{name}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from simulator.config.problems import suggest
from simulator.errors import InputError

_NAME = r"[A-Za-z_][A-Za-z0-9_/-]*(?:\.[A-Za-z0-9_-]+)?"
_PLACEHOLDER = re.compile(rf"\{{\{{({_NAME})\}}\}}|(?<!\$)\{{({_NAME})\}}")

Lookup = Callable[[str], str]


def render(text: str, lookup: Lookup) -> str:
    """Put values in the place of placeholders; `lookup` raises InputError for a name that it does not know."""

    def replacement(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        return f"{{{escaped}}}" if escaped else lookup(name)

    return _PLACEHOLDER.sub(replacement, text)


def render_all(value: Any, lookup: Lookup) -> Any:
    """The same for every text in lists and mappings, keys included."""
    if isinstance(value, str):
        return render(value, lookup)
    if isinstance(value, list):
        return [render_all(item, lookup) for item in value]
    if isinstance(value, dict):
        return {render_all(key, lookup): render_all(item, lookup) for key, item in value.items()}
    return value


def find_placeholders(text: str) -> Iterator[str]:
    for match in _PLACEHOLDER.finditer(text):
        if match[2]:
            yield match[2]


def unknown_placeholder(name: str, known: list[str]) -> InputError:
    return InputError(
        f"the placeholder {{{name}}} names nothing{suggest(name, known)}",
        expected=f"one of {', '.join(f'{{{one}}}' for one in known)}; or {{{{{name}}}}} for the braces themselves",
    )

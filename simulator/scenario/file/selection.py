"""Selection of scenarios by a keyword expression (`-k`), as in pytest: words, `and`, `or`, `not`, parentheses.

A word matches if the name, the path or a tag contains it, in any case. Quotes turn several words into one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from simulator.errors import InputError
from simulator.scenario.file.schema import Scenario

Predicate = Callable[[str], bool]

_TOKEN = re.compile(r"""\s*(?:([()])|"([^"]*)"|'([^']*)'|([^\s()"']+))""")
_OPERATORS = ("and", "or", "not")


def select(scenarios: list[Scenario], expression: str | None) -> list[Scenario]:
    """Return the matching scenarios. Raises InputError if `expression` is invalid or matches none."""
    if not expression or not expression.strip():
        return scenarios
    matches = parse_expression(expression)
    selected = [scenario for scenario in scenarios if matches(_searchable_text(scenario))]
    if not selected:
        raise InputError(
            f"-k {expression}: matches none of {len(scenarios)} scenarios",
            expected="words from their names, paths or tags",
        )
    return selected


def _searchable_text(scenario: Scenario) -> str:
    return " ".join([scenario.name, str(scenario.path), *(scenario.tags or ())]).lower()


def parse_expression(text: str) -> Predicate:
    """Return a predicate over lower-case text. Raises InputError."""
    return _Parser(text).parse()


class _Parser:
    """Recursive descent parser.

    or   = and *("or" and)
    and  = not *("and" not)
    not  = "not" not / "(" or ")" / word
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def parse(self) -> Predicate:
        predicate = self._or()
        if self._at < len(self._tokens):
            raise self._error('"and", "or", or the end of the expression')
        return predicate

    def _or(self) -> Predicate:
        parts = [self._and()]
        while self._take("or"):
            parts.append(self._and())
        return lambda searchable: any(part(searchable) for part in parts)

    def _and(self) -> Predicate:
        parts = [self._not()]
        while self._take("and"):
            parts.append(self._not())
        return lambda searchable: all(part(searchable) for part in parts)

    def _not(self) -> Predicate:
        if self._take("not"):
            part = self._not()
            return lambda searchable: not part(searchable)
        if self._take("("):
            part = self._or()
            if not self._take(")"):
                raise self._error('")"')
            return part
        return self._word()

    def _word(self) -> Predicate:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")
        if kind != "word":
            raise self._error("a word")
        self._at += 1
        return lambda searchable: text.lower() in searchable

    def _take(self, operator: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at] == ("operator", operator):
            self._at += 1
            return True
        return False

    def _error(self, expected: str) -> InputError:
        problem = f'unexpected "{self._tokens[self._at][1]}"' if self._at < len(self._tokens) else self._end()
        hint = '; to match a phrase, quote it: "stale cookie"' if expected.startswith('"and"') else ""
        return InputError(f"-k {self._text}: {problem}", expected=f"{expected}{hint}")

    def _end(self) -> str:
        return f'unexpected end after "{self._tokens[-1][1]}"' if self._tokens else "empty expression"


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InputError(f"-k {text}: unclosed quote", expected="a closing quote")
        bracket, double, single, bare = match.groups()
        if bracket or bare in _OPERATORS:
            tokens.append(("operator", bracket or bare))
        else:
            tokens.append(("word", next(word for word in (double, single, bare) if word is not None)))
        at = match.end()
    return tokens

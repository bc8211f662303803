"""Schema of `expect:` in a scenario.

A plain string means an exact match; a mapping selects another kind of match (`contains`, `matches`). The checks are in
`check.py`.
"""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from simulator.config.base_model import (
    TEXT_SCHEMA,
    Duration,
    OneOrMore,
    ShortForm,
    StrictModel,
    Text,
    Texts,
    as_list,
    invalid,
)
from simulator.config.problems import describe, suggest
from simulator.diagnosis import FINDINGS
from simulator.routing.errors import CODES


def _expand_plain_text(data: Any) -> Any:
    if isinstance(data, str | int | float) and not isinstance(data, bool):
        return {"equals": data}
    if not isinstance(data, dict):
        raise invalid(describe(data), expected="a string, or contains:, equals: or matches:")
    if not data:
        raise invalid("an empty mapping", expected="a string, or contains:, equals: or matches:")
    return data


def _check_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise invalid(
            f"invalid regular expression ({error})", expected="the syntax of Python's re module"
        ) from None
    return text


Expression = Annotated[
    Text, AfterValidator(_check_expression), WithJsonSchema({"type": "string", "format": "regex"})
]


class TextMatch(StrictModel):
    """Conditions on a string. All of them must hold."""

    equals: Text | None = None
    contains: Texts | None = None
    not_contains: Texts | None = None
    matches: Expression | None = None
    """A regular expression that matches anywhere in the string."""


class HeaderMatch(TextMatch):
    absent: bool = False


class CookieMatch(TextMatch):
    """Conditions on a cookie that a response sets: on its value and attributes."""

    absent: bool = False
    path: Text | None = None
    domain: Text | None = None
    max_age: Duration | None = None
    secure: bool | None = None
    http_only: bool | None = None
    same_site: Literal["Strict", "Lax", "None"] | None = None


class MessageMatch(TextMatch):
    json_: Any = Field(default=None, alias="json")
    """The message is JSON and contains at least this."""
    bytes_: int | None = Field(default=None, alias="bytes", ge=0)
    """The message is binary and has this size."""
    binary: bool | None = None


class LogMatch(TextMatch):
    machine: Text | None = None
    """Name or id. Without it, the line may be from any machine."""

    @model_validator(mode="after")
    def _check_has_condition(self) -> LogMatch:
        if self.equals is None and self.contains is None and self.matches is None:
            raise invalid("a log line without a condition", expected="contains:, equals: or matches:")
        return self


_SHORT = (BeforeValidator(_expand_plain_text), ShortForm(TEXT_SCHEMA))
TextMatches = Annotated[TextMatch, *_SHORT]
HeaderMatches = Annotated[HeaderMatch, *_SHORT]
CookieMatches = Annotated[CookieMatch, *_SHORT]
MessageMatches = Annotated[MessageMatch, *_SHORT]

_ERRORS = (*CODES, "none", "timeout", "disconnect")


def _check_error(text: str) -> str:
    if text in _ERRORS or "{" in text:
        return text
    known = {code.lower(): code for code in _ERRORS}
    near = difflib.get_close_matches(text.lower(), known, n=1)
    suggestion = f'; did you mean "{known[near[0]]}"?' if near else ""
    raise invalid(f"{describe(text)}{suggestion}", expected=f"one of {', '.join(_ERRORS)}")


def _check_finding(text: str) -> str:
    if text in FINDINGS or "{" in text:
        return text
    raise invalid(f"{describe(text)}{suggest(text, FINDINGS)}", expected=f"one of {', '.join(FINDINGS)}")


_ids = WithJsonSchema({"enum": list(FINDINGS)})
_codes = WithJsonSchema({"enum": list(_ERRORS)})

_Status = Annotated[int, Field(ge=100, le=599)]
Statuses = Annotated[list[_Status], BeforeValidator(as_list), OneOrMore()]


class Expectation(StrictModel):
    """Expectations on one exchange: its response, its route, cookies, logs and findings."""

    served_by: Texts | None = None
    path: list[Text] | None = None
    hops: int | None = Field(default=None, ge=0)
    status: Statuses | None = None
    error: Annotated[Text, AfterValidator(_check_error), _codes] | None = None
    headers: dict[str, HeaderMatches] | None = None
    set_cookie: dict[str, CookieMatches] | None = None
    body: TextMatches | None = None
    json_: Any = Field(default=None, alias="json")
    cookies_sent: list[Text] | None = None
    """Names of the cookies that the request sent, in any order."""
    cookies_withheld: dict[str, TextMatches] | None = None
    """Names of the cookies that the request did not send, and the reasons."""
    logs: list[LogMatch] | None = None
    findings: list[Annotated[Text, AfterValidator(_check_finding), _ids]] | None = None
    within: Duration | None = None

    @model_validator(mode="before")
    @classmethod
    def _check_mapping(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise invalid(describe(data), expected="a mapping with keys such as status: and served_by:")
        if not data:
            raise invalid("an empty mapping", expected="at least one expectation")
        return data


class WebSocketExpectation(Expectation):
    messages: list[MessageMatches] | None = None
    exact: bool = False
    """No other messages may arrive in between."""
    subprotocol: Text | None = None
    close_code: int | None = None
    close_reason: TextMatches | None = None


class ShellExpectation(StrictModel):
    exit: int = 0
    stdout: TextMatches | None = None
    stderr: TextMatches | None = None
    logs: list[LogMatch] | None = None
    within: Duration | None = None

"""Capture of values from a response (`capture:`), for `{name}` in later steps."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from pydantic import model_validator

from simulator.config.base_model import StrictModel, Text, invalid
from simulator.results import ClientResponse
from simulator.scenario.client.cookie import CookieError, parse_set_cookie
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.expectations.schema import Expression


class Capture(StrictModel):
    """The source of a value: exactly one of these."""

    header: Text | None = None
    cookie: Text | None = None
    """The value of a cookie that the response sets."""
    json_path: Text | None = None
    """Keys and list indexes, separated by dots: `streams.0.id`."""
    body: Expression | None = None
    """A regular expression. The value is its first group, or without groups the whole match."""
    message: Expression | None = None
    """A regular expression as for `body`, applied to the text messages of a WebSocket."""
    served_by: Literal[True] | None = None
    """The id of the machine that sent the response."""

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Capture:
        if len(self.model_fields_set) != 1:
            raise invalid(
                f"{len(self.model_fields_set)} sources for one value",
                expected=f"exactly one of {', '.join(f'{name}:' for name in Capture.model_fields)}",
            )
        return self


Captures = dict[str, Capture]


def capture(captures: Captures | None, response: ClientResponse, context: ScenarioContext) -> None:
    """Store the captured values in the context. Raises StepFailed if the response lacks one."""
    for name, source in (captures or {}).items():
        value = _find(source, response)
        if value is None:
            kind = next(iter(source.model_fields_set))
            raise StepFailed(
                f"cannot capture {name}: the response has no match for {kind}: {getattr(source, kind)}",
                response=response,
            )
        context.names.captured[name] = value


def _find(source: Capture, response: ClientResponse) -> str | None:
    if source.header is not None:
        return next(iter(response.header_values(source.header)), None)
    if source.cookie is not None:
        return _find_cookie(source.cookie, response)
    if source.json_path is not None:
        return _find_json(source.json_path, response)
    if source.body is not None:
        return _find_text(source.body, response.text)
    if source.message is not None:
        texts = (message for message in response.messages if isinstance(message, str))
        return next(
            (found for text in texts if (found := _find_text(source.message, text)) is not None), None
        )
    return response.trace.hops[-1].machine_id if response.trace and response.trace.served_by else None


def _find_cookie(name: str, response: ClientResponse) -> str | None:
    for text in response.header_values("set-cookie"):
        try:
            cookie = parse_set_cookie(text)
        except CookieError:
            continue
        if cookie.name == name:
            return cookie.value
    return None


def _find_text(expression: str, text: str) -> str | None:
    match = re.search(expression, text)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def _find_json(path: str, response: ClientResponse) -> str | None:
    try:
        value: Any = json.loads(response.body)
        for key in path.split("."):
            value = value[int(key)] if isinstance(value, list) else value[key]
    except (ValueError, KeyError, IndexError, TypeError):
        return None
    return value if isinstance(value, str) else json.dumps(value)

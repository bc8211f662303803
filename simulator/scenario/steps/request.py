"""Step `request`: sends one HTTP request with the cookies of the client, and checks the response."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, ClassVar
from urllib.parse import urlencode

from pydantic import BeforeValidator, Field, model_validator

from simulator.config.base_model import (
    Duration,
    Port,
    StrictModel,
    Text,
    Texts,
    as_string,
    check_mutually_exclusive,
    invalid,
)
from simulator.config.problems import describe
from simulator.scenario.client.http import ClientRequest
from simulator.scenario.context import ScenarioContext
from simulator.scenario.expectations.capture import Captures, capture
from simulator.scenario.expectations.schema import Expectation
from simulator.scenario.steps.base import Step

_REQUEST_LINE = re.compile(r"(?:([A-Za-z]+)\s+)?(\S+)")
DEFAULT_TIMEOUT_SECONDS = 30.0


class GeneratedBody(StrictModel):
    """A request body of a given size, to test limits."""

    bytes_: int = Field(alias="bytes", ge=0)


def _parse_body(value: Any) -> Any:
    return value if isinstance(value, dict) else as_string(value)


Body = Annotated[str | GeneratedBody, BeforeValidator(_parse_body)]


class RequestStep(Step):
    key: ClassVar[str] = "request"
    inner_keys: ClassVar[tuple[str, ...]] = ("path", "url")

    request: Text
    """`GET /x`, `/x`, or a URL. Whatever its host, the connection goes to the edge."""
    method: Text | None = None
    edge: Text | None = None
    port: Port | None = None
    """A public port of the edge other than 80 and 443."""
    direct: Text | None = None
    """A machine to connect to directly, without the proxy, as other machines on the private network do."""
    client: Text | None = None
    headers: dict[str, Texts] | None = None
    body: Body | None = None
    json_: Any = Field(default=None, alias="json")
    form: dict[str, Text] | None = None
    follow: bool = False
    timeout: Duration = DEFAULT_TIMEOUT_SECONDS
    capture: Captures | None = None
    expect: Expectation | None = None

    @model_validator(mode="after")
    def _check_key_combination(self) -> RequestStep:
        given = [name for name in ("body", "json_", "form") if name in self.model_fields_set]
        if len(given) > 1:
            keys = " and ".join(f'"{name.rstrip("_")}:"' for name in given)
            raise invalid(f"{keys} in one request", expected="one of them")
        check_mutually_exclusive(self, "edge", "direct")
        check_mutually_exclusive(self, "port", "direct")
        line = _REQUEST_LINE.fullmatch(self.request.strip())
        if line is None or not line[2].startswith(("/", "http://", "https://", "{", "*")):
            raise invalid(
                describe(self.request), expected='a request such as "GET /x?y=z", with only that space'
            )
        if line[1] and self.method:
            raise invalid(
                f'"method:" in addition to {describe(self.request)}', expected="the method in one of the two"
            )
        return self

    @property
    def title(self) -> str:
        method, target = self._line()
        return f"{method} {target}"

    def _line(self) -> tuple[str, str]:
        line = _REQUEST_LINE.fullmatch(self.request.strip())
        assert line is not None
        return (line[1] or self.method or "GET").upper(), line[2]

    async def run(self, context: ScenarioContext) -> None:
        client = context.get_client(self.client)
        base_url = context.base_url(client, edge=self.edge, direct=self.direct, port=self.port)
        response = await client.request(self.build_request(), base_url)
        await context.check_response(response, self.expect)
        capture(self.capture, response, context)

    def build_request(self) -> ClientRequest:
        method, target = self._line()
        headers = [(name, value) for name, values in (self.headers or {}).items() for value in values]
        content, kind = self._content()
        if kind and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", kind))
        return ClientRequest(method, target, headers, content, self.follow, self.timeout)

    def _content(self) -> tuple[bytes | None, str | None]:
        if "json_" in self.model_fields_set:
            return json.dumps(self.json_).encode(), "application/json"
        if self.form is not None:
            return urlencode(self.form).encode(), "application/x-www-form-urlencoded"
        if isinstance(self.body, GeneratedBody):
            return b"x" * self.body.bytes_, "application/octet-stream"
        if self.body is not None:
            return self.body.encode(), "text/plain; charset=utf-8"
        return None, None

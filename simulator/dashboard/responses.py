"""JSON responses and request parsing of the control API. Errors are `{"error": "…"}`, as in Fly's Machines API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette import responses
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simulator.crash_report import CRASHED, describe_bug
from simulator.errors import InputError, SimulatorError
from simulator.text import encode_json


class JSONResponse(responses.JSONResponse):
    """A JSON response for any text, also with bytes that are not UTF-8."""

    def render(self, content: Any) -> bytes:
        return encode_json(content)


LINGER_SECONDS = 1.0
READ_AHEAD_BYTES = 2**16
"""uvicorn reads at most about this much of a body that nobody asks for."""


class ApiError(Exception):
    """A request that gets an error response with this status."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def error_response(status: int, problem: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": problem, **more}, status)


class Refusal(JSONResponse):
    """An error response that does not wait for the body of its request: if there is one, the connection closes.

    If the rest of that body may still be on its way, the connection stays open for LINGER_SECONDS, unread. Otherwise
    its reset would reach the client before the response does (RFC 9112 9.6).
    """

    def __init__(
        self, request_headers: Headers, status: int, problem: str, more: Mapping[str, str] | None = None
    ) -> None:
        is_chunked = "transfer-encoding" in request_headers
        length = int(request_headers.get("content-length", "0"))
        closing = {"Connection": "close"} if is_chunked or length else {}
        super().__init__({"error": problem}, status, {**(more or {}), **closing})
        self._lingers = is_chunked or length > READ_AHEAD_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._lingers:
            await super().__call__(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await asyncio.sleep(LINGER_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def respond_to_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error.status, str(error))


def respond_to_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "other methods")
        problem = f"{request.scope['path']} does not allow {request.method}, only {allowed}"
    elif error.status_code == 404:
        problem = f"there is no path {request.scope['path']}"
    else:
        problem = error.detail
    return JSONResponse({"error": problem}, error.status_code, error.headers)


def respond_to_simulator_error(request: Request, error: Exception) -> Response:
    """412 if the machine is in the wrong state (Fly: failed_precondition), else 500."""
    assert isinstance(error, SimulatorError)
    if isinstance(error, InputError):
        return error_response(412, f"failed_precondition: {error}", exit_status=error.exit_status)
    return error_response(500, str(error), exit_status=error.exit_status)


def respond_to_bug(request: Request, error: Exception) -> Response:
    """500; uvicorn logs the error, which reports it."""
    return error_response(500, describe_bug(error), exit_status=CRASHED)


async def read_json(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object or empty. Raises ApiError."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        data = json.loads(body)
    except RecursionError:
        raise ApiError(
            400, "the body is not valid JSON: its values are nested too deeply; expected a JSON object"
        ) from None
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}; expected a JSON object") from None
    if not isinstance(data, dict):
        raise ApiError(400, f"the body is {body[:100]!r}; expected a JSON object")
    return data


def read_flag(request: Request, name: str) -> bool:
    return request.query_params.get(name, "") in ("1", "true", "yes")


def read_number(request: Request, name: str, default: int, *, minimum: int, maximum: int) -> int:
    """An integer from the query. Raises ApiError."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and minimum <= int(text) <= maximum):
        raise ApiError(400, f'{name} is "{text}"; expected an integer from {minimum} to {maximum}')
    return int(text)

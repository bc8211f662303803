"""Request log of a machine's own responses."""

from __future__ import annotations

import logging

import pytest
from starlette.types import Message, Receive, Scope, Send

from sample_app.request_log import RequestLog, duration_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0µs"), (0.000034, "34µs"), (0.0009994, "999µs"), (0.001, "1ms"), (0.0019, "1ms"), (2.5, "2500ms")],
)
def test_durations_have_the_format_of_the_log(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("scope", "first", "before", "after"),
    [
        (
            {"type": "http", "method": "GET"},
            {"type": "http.response.start", "status": 404},
            "GET /a",
            "Sent 404 in ",
        ),
        ({"type": "websocket"}, {"type": "websocket.accept"}, None, "CONNECTED TO /a in "),
    ],
)
async def test_each_line_is_written_before_its_response_is_sent(
    scope: Scope, first: Message, before: str | None, after: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sample_app")
    seen: list[list[str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(list(caplog.messages))
        await send(first)

    async def send(message: Message) -> None:
        seen.append(list(caplog.messages))

    async def receive() -> Message:
        raise AssertionError("the log must not read the request")

    await RequestLog(app)({**scope, "path": "/a"}, receive, send)
    when_app_runs, when_sent = seen
    assert when_app_runs == ([before] if before else [])
    assert when_sent[-1].startswith(after)


async def test_a_path_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sample_app")

    async def app(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None: ...

    await RequestLog(app)({"type": "http", "method": "GET", "path": "/\n[info] Sent 200"}, receive, send)
    assert caplog.messages == [r"GET '/\n[info] Sent 200'"]

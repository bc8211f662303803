"""HTTP/1.1 requests and responses, byte by byte (RFC 9110, RFC 9112)."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.client import Client, request
from tests.proxy.conformance.http1_cases import CASES, Case
from tests.proxy.conformance.http1_responses import ANSWERS, Answer
from tests.proxy.conformance.strict_machine import OK, StrictMachine
from tests.proxy.harness import AMS, Harness
from tests.proxy.wire import DEADLINE_SECONDS, Message

_AFTER, _BARRIER = b"GET /after HTTP/1.1", b"GET /barrier HTTP/1.1"


def test_the_table_is_complete() -> None:
    names = [name for name, _ in CASES]
    assert len(set(names)) == len(names) >= 150


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
async def test_a_request_has_its_one_outcome(harness: Harness, case: Case) -> None:
    machine = StrictMachine()
    await harness.add_machine(AMS, "ams", machine.handler())
    client = await harness.connect()
    await client.send(case.data)
    await _check_responses(client, case)
    await client.aclose()
    await _barrier(harness)
    _check_requests(machine, case)


async def _check_responses(client: Client, case: Case) -> None:
    for status in case.statuses:
        response = await client.read_response()
        assert response.status == status, response.head
        if status >= 400:
            _check_refusal(response)
    if case.closes or case.is_refused:
        assert await client.read_to_end() == b""
    elif not case.is_incomplete:  # nothing of the request is left over: the connection serves another one
        assert (await client.fetch(path="/after")).status == 200


def _check_requests(machine: StrictMachine, case: Case) -> None:
    requests = [each for each in machine.requests() if each.line not in (_AFTER, _BARRIER)]
    complete = [each for each in requests if each.is_complete]
    assert len(complete) == case.statuses.count(200)
    assert len(requests) - len(complete) <= 1  # the head of one whose body is incomplete or invalid
    for last in complete[-1:]:
        assert case.line in (None, last.line)
        assert case.body in (None, last.body)
        for name, value in case.has:
            assert last.all(name) == [value]
        for name in case.lacks:
            assert last.all(name) == []


def _check_refusal(response: Message) -> None:
    """The proxy's own error: a bare status with Fly's headers."""
    assert response.body == b""
    assert response.get("content-length") == "0"
    assert response.get("connection") == "close"
    assert (response.get("server") or "").startswith("Fly/")
    assert response.get("via") == "1.1 fly.io"
    assert response.get("fly-request-id")
    assert response.get("date")


async def _barrier(harness: Harness) -> None:
    """Wait until the machine has everything that was sent before: it answers a request of another connection."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        other = await harness.connect()
        assert (await other.fetch(path="/barrier")).status == 200
        await other.aclose()


async def test_the_trace_says_what_is_invalid_in_a_response(harness: Harness) -> None:
    machine = StrictMachine(response=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok")
    await harness.add_machine(AMS, "ams", machine.handler())
    assert (await (await harness.connect()).fetch()).status == 502
    (trace,) = await harness.finished()
    assert trace.hops[0].note == "invalid response: more than one Content-Length"


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.name for answer in ANSWERS])
async def test_a_response_has_its_one_outcome(harness: Harness, answer: Answer) -> None:
    machine = StrictMachine(response=answer.data, closes=answer.closes)
    await harness.add_machine(AMS, "ams", machine.handler())
    client = await harness.connect()
    await client.send(request(answer.method))
    response = await client.read_head()
    assert response.status == answer.status
    for name, value in answer.has:
        assert value in response.all(name)
    for name in answer.lacks:
        assert response.all(name) == []
    if answer.is_cut:
        rest = await client.read_to_end()
        assert answer.body in rest
        assert not rest.endswith(b"0\r\n\r\n")
        assert len(rest) != int(response.get("content-length") or -1)
        return
    if answer.method != "HEAD" and answer.status not in (204, 304):
        assert (await client.read_body(response)).body == answer.body
    machine.response = OK
    machine.closes = False
    assert (await client.fetch()).status == 200  # nothing is left over on either connection

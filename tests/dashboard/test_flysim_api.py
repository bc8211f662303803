"""The part of the control API under /_flysim/, over real sockets."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.crash_report import BugLog, logged_bugs_reported
from simulator.events import ProxyLogged
from simulator.results import Finding, Fix
from simulator.routing.trace import Trace
from tests.dashboard.harness import AMS, DFW, OTHER, Harness, make_trace, open_harness, until_open


async def test_traces_are_listed_newest_last_up_to_a_limit(harness: Harness) -> None:
    for number in range(5):
        harness.simulator.exchange(f"request-{number}")

    every = (await harness.client.get("/_flysim/traces")).json()
    latest = (await harness.client.get("/_flysim/traces", params={"limit": "2"})).json()

    assert [trace["request_id"] for trace in every] == [f"request-{number}" for number in range(5)]
    assert [trace["request_id"] for trace in latest] == ["request-3", "request-4"]
    assert (await harness.client.get("/_flysim/traces", params={"limit": "0"})).json() == []


async def test_a_trace_is_returned_unchanged(harness: Harness) -> None:
    trace = harness.simulator.exchange("01ABC-ams")

    data = (await harness.client.get("/_flysim/traces/01ABC-ams")).json()

    assert Trace.from_dict(data) == trace
    assert data["path"] == ["ams-1", "dfw-1"]


async def test_an_unknown_trace_is_404_with_the_number_of_traces(harness: Harness) -> None:
    harness.simulator.exchange("one")

    response = await harness.client.get("/_flysim/traces/two")

    assert response.status_code == 404
    assert response.json() == {
        "error": 'there is no trace with the id "two"; traces stored: 1; '
        "a request that was refused as invalid has none: see the log"
    }


async def test_findings_and_ready_come_from_the_simulator(harness: Harness) -> None:
    findings = (await harness.client.get("/_flysim/findings")).json()
    assert findings == [Finding("stale-cookie", "dfw-1 is destroyed", Fix("clear it"), "an id").as_dict()]
    assert (await harness.client.get("/_flysim/ready")).json() == harness.simulator.ready()


async def test_status_has_machines_edges_and_clock(harness: Harness) -> None:
    harness.simulator.exchange("one")

    status = (await harness.client.get("/_flysim/status")).json()

    assert [machine["name"] for machine in status["machines"]] == ["ams-1", "dfw-1", "ams-1"]
    assert status["machines"][0]["address"] == "127.0.0.1:41001"
    assert status["edges"] == {"ams": "http://127.0.0.1:8080"}
    assert status["traces"] == 1
    assert status["clock"]["realtime"] is True


async def test_status_has_the_problem_of_an_unhealthy_machine(harness: Harness) -> None:
    machine = harness.simulator.fleet.machines[1]
    harness.simulator.fleet = harness.simulator.fleet.with_machine(replace(machine, healthy=False))

    machines = (await harness.client.get("/_flysim/status")).json()["machines"]

    assert [machine.get("problem") for machine in machines] == [None, "nothing listens", None]


@pytest.mark.parametrize(("duration", "seconds"), [("90s", 90), ("1m30s", 90), (90, 90), ("500ms", 0.5)])
async def test_the_clock_can_be_advanced(harness: Harness, duration: object, seconds: float) -> None:
    before = harness.simulator.clock.now()

    response = await harness.client.post("/_flysim/clock", json={"advance": duration})

    assert response.status_code == 200
    assert seconds <= response.json()["now"] - before < seconds + 10


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"advance": "soon"}', b'{"advance": -1}', b"[]", b"{", b'{"advance": true}', b"[" * 9999],
)
async def test_an_invalid_duration_does_not_change_the_clock(harness: Harness, body: bytes) -> None:
    response = await harness.client.post(
        "/_flysim/clock", content=body, headers={"Content-Type": "application/json"}
    )

    assert response.status_code == 400
    assert "expected" in response.json()["error"]
    assert harness.simulator.clock.pause_seconds(1) == 1


async def test_reset_calls_the_simulator(harness: Harness) -> None:
    assert (await harness.client.post("/_flysim/reset")).json() == {"ok": True}
    assert harness.simulator.resets == 1


async def test_a_machine_is_killed_by_id_or_name(harness: Harness) -> None:
    assert (await harness.client.post("/_flysim/machines/dfw-1/kill")).json() == {"ok": True}
    assert (await harness.client.post(f"/_flysim/machines/{AMS}/kill")).json() == {"ok": True}

    states = [machine.state.value for machine in harness.simulator.fleet.machines]
    assert states == ["stopped", "stopped", "started"]


async def test_an_ambiguous_name_is_refused(harness: Harness) -> None:
    response = await harness.client.post("/_flysim/machines/ams-1/kill")

    assert response.status_code == 409
    problem = f'several machines are named "ams-1"; expected one of ams-1 ({AMS}), ams-1 ({OTHER})'
    assert response.json() == {"error": problem}


async def test_a_clone_starts_in_the_given_region(harness: Harness) -> None:
    response = await harness.client.post("/_flysim/machines/dfw-1/clone", json={"region": "lax"})

    assert response.status_code == 201
    assert response.json()["region"] == "lax"
    assert len(harness.simulator.fleet.machines) == 4


async def test_a_clone_in_an_unknown_region_is_refused(harness: Harness) -> None:
    response = await harness.client.post("/_flysim/machines/dfw-1/clone", json={"region": "eu"})

    assert response.status_code == 400
    assert 'there is no region "eu"' in response.json()["error"]


async def test_logs_of_all_machines_or_of_one(harness: Harness) -> None:
    harness.simulator.log(AMS, "hello from ams")
    harness.simulator.log(DFW, "hello from dfw")

    of_all = (await harness.client.get("/_flysim/logs")).json()
    of_one = (await harness.client.get("/_flysim/logs", params={"machine": "dfw-1"})).json()

    assert [line["line"] for line in of_all] == ["hello from ams", "hello from dfw"]
    assert [(line["type"], line["region"], line["line"]) for line in of_one] == [
        ("MachineLogged", "dfw", "hello from dfw")
    ]
    assert (await harness.client.get("/_flysim/logs", params={"machine": "x"})).status_code == 404


async def test_logs_can_be_followed(harness: Harness) -> None:
    harness.simulator.log(AMS, "before")
    query = {"machine": AMS, "follow": "1"}

    async with harness.client.stream("GET", "/_flysim/logs", params=query) as response:
        lines = response.aiter_lines()
        assert json.loads(await anext(lines))["line"] == "before"
        harness.simulator.log(DFW, "from another machine")
        harness.simulator.log(AMS, "after")
        assert json.loads(await anext(lines))["line"] == "after"


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


async def test_events_are_streamed_with_their_type_as_name(harness: Harness) -> None:
    async with harness.client.stream("GET", "/_flysim/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        await until_open(harness.streams, 1)
        harness.simulator.exchange("one", finished=False)
        harness.simulator.log(DFW, "a line\nand\r\nmore")
        await harness.simulator.stop_machine(DFW)

        events = _events(response)
        name, data = await anext(events)
        assert name == "ExchangeAnswered"
        assert Trace.from_dict(data["trace"]) == make_trace("one")
        name, data = await anext(events)
        assert (name, data["line"]) == ("MachineLogged", "a line\nand\r\nmore")
        name, data = await anext(events)
        assert (name, [machine["state"] for machine in data["machines"]][:2]) == (
            "FleetChanged",
            ["started", "stopped"],
        )
        name, data = await anext(events)
        assert (name, data["before"], data["after"]) == ("MachineStateChanged", "started", "stopped")


async def test_the_stream_of_a_client_that_disconnects_is_closed(harness: Harness) -> None:
    async with harness.client.stream("GET", "/_flysim/events"):
        await until_open(harness.streams, 1)

    await until_open(harness.streams, 0)


async def test_an_idle_stream_has_a_heartbeat() -> None:
    async with (
        open_harness(heartbeat_seconds=0.02) as harness,
        harness.client.stream("GET", "/_flysim/events") as response,
    ):
        async with asyncio.timeout(5):
            comments = [line async for line in _first_comments(response, 3)]
    assert comments[1:] == [": heartbeat", ": heartbeat"]


async def _first_comments(response: httpx.Response, count: int) -> AsyncIterator[str]:
    async for line in response.aiter_lines():
        if line.startswith(":"):
            yield line
            count -= 1
        if count == 0:
            return


async def test_a_client_that_reads_too_slowly_is_dropped() -> None:
    async with open_harness(max_queued=10) as harness:
        reader, writer = await asyncio.open_connection("127.0.0.1", harness.port, limit=1024)
        writer.write(b"GET /_flysim/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until_open(harness.streams, 1)

        # All in one iteration of the event loop, so that nothing is sent in between.
        for number in range(11):
            harness.simulator.log(DFW, f"line {number}")

        assert len(harness.streams) == 0
        async with asyncio.timeout(5):
            received = await reader.readuntil(b"too slowly\n\n")
        assert b"MachineLogged" not in received
        writer.close()


async def test_bytes_that_are_not_utf8_are_shown_as_escapes_everywhere(harness: Harness) -> None:
    """The traces have none; this is about other text, such as what a machine or a client sent as JSON."""
    harness.simulator.bus.publish(ProxyLogged(0.0, "chat", None, "ams", "error", "state=\ud800 \udcff"))

    lines = (await harness.client.get("/_flysim/logs")).json()
    refused = await harness.client.post(
        f"/_flysim/machines/{AMS}/clone",
        content=b'{"region": "\\ud800"}',
        headers={"content-type": "application/json"},
    )

    assert lines[-1]["message"] == r"state=\ud800 \xff"
    assert refused.status_code == 400


async def test_a_bug_in_flysim_is_500_with_its_report_in_json(
    harness: Harness, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lines: list[str] = []
    harness.simulator.edges = None  # type: ignore[assignment]
    with logged_bugs_reported(BugLog(lines.append), "uvicorn.error"):
        responses = [await harness.client.get("/_flysim/status") for _ in range(2)]

    (line,) = lines
    assert line.startswith("flysim hit a bug: TypeError: ")
    assert [response.status_code for response in responses] == [500, 500]
    assert [response.json() for response in responses] == [{"error": line, "exit_status": 4}] * 2
    assert "Traceback" not in capfd.readouterr().err

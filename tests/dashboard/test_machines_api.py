"""The part of Fly's Machines API that the control API has, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from simulator.routing.model import MachineState
from tests.dashboard.harness import AMS, DFW, OTHER, Harness, until_open

MACHINES = "/v1/apps/chat/machines"


async def test_a_machine_looks_as_in_flys_api(harness: Harness) -> None:
    machine = (await harness.client.get(f"{MACHINES}/{AMS}")).json()

    assert {key: machine[key] for key in ("id", "name", "state", "region", "private_ip")} == {
        "id": AMS,
        "name": "ams-1",
        "state": "started",
        "region": "ams",
        "private_ip": "fdaa::1",
    }
    spec = harness.simulator.specs[AMS]
    assert machine["instance_id"] == spec.version
    assert len(machine["instance_id"]) == 26
    assert machine["config"]["env"] == {"LEVEL": "debug"}
    assert machine["config"]["metadata"] == {"fly_process_group": "app"}
    assert machine["config"]["services"][0]["internal_port"] == 8080
    assert [port["port"] for port in machine["config"]["services"][0]["ports"]] == [80, 443]
    assert [check["name"] for check in machine["checks"]] == ["servicecheck-00-http-8080"]
    assert machine["checks"][0]["status"] == "passing"
    assert machine["created_at"].endswith("Z")
    assert [(event["type"], event["status"], event["source"]) for event in machine["events"]] == [
        ("launch", "created", "user")
    ]


async def test_the_list_is_of_one_app_and_can_be_of_one_region(harness: Harness) -> None:
    everywhere = (await harness.client.get(MACHINES)).json()
    in_dallas = (await harness.client.get(MACHINES, params={"region": "dfw"})).json()

    assert [machine["id"] for machine in everywhere] == [AMS, DFW]
    assert [machine["id"] for machine in in_dallas] == [DFW]


async def test_an_unknown_app_names_those_that_exist(harness: Harness) -> None:
    answer = await harness.client.get("/v1/apps/chatt/machines")

    assert answer.status_code == 404
    assert answer.json() == {"error": 'there is no app "chatt"; there is chat, shop'}


@pytest.mark.parametrize("path", ["", "/start", "/wait"])
async def test_an_unknown_machine_names_those_that_exist(harness: Harness, path: str) -> None:
    method = "POST" if path == "/start" else "GET"

    answer = await harness.client.request(method, f"{MACHINES}/{OTHER}{path}")

    assert answer.status_code == 404
    problem = f'app chat has no machine "{OTHER}"; it has {AMS} (ams-1), {DFW} (dfw-1)'
    assert answer.json() == {"error": problem}


async def test_stop_and_start_act_and_say_what_was_before(harness: Harness) -> None:
    stopped = await harness.client.post(f"{MACHINES}/{DFW}/stop")
    assert stopped.json() == {"ok": True}
    assert harness.simulator.fleet.find(DFW).state is MachineState.STOPPED  # type: ignore[union-attr]

    started = await harness.client.post(f"{MACHINES}/{DFW}/start")
    assert started.json() == {"previous_state": "stopped", "migrated": False, "new_host": ""}
    assert harness.simulator.fleet.find(DFW).state is MachineState.STARTED  # type: ignore[union-attr]


async def test_starting_a_started_machine_is_no_error(harness: Harness) -> None:
    """As observed of Fly: 200, with the state that it had."""
    answer = await harness.client.post(f"{MACHINES}/{DFW}/start")

    assert answer.json()["previous_state"] == "started"
    assert len((await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]) == 1


async def test_starting_a_stopping_machine_is_a_failed_precondition(harness: Harness) -> None:
    harness.simulator.become(DFW, MachineState.STOPPING)

    answer = await harness.client.post(f"{MACHINES}/{DFW}/start")

    assert answer.status_code == 412
    problem = f"failed_precondition: cannot start machine {DFW}: it is stopping"
    assert answer.json() == {"error": problem, "exit_status": 2}


async def test_a_suspended_machine_stays_so_when_suspended_again(harness: Harness) -> None:
    for _ in range(2):
        assert (await harness.client.post(f"{MACHINES}/{DFW}/suspend")).json() == {"ok": True}

    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["state"] == "suspended"
    assert len((await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]) == 2


async def test_cordon_and_uncordon_show(harness: Harness) -> None:
    await harness.client.post(f"{MACHINES}/{DFW}/cordon")
    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["cordoned"] is True

    await harness.client.post(f"{MACHINES}/{DFW}/uncordon")
    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["cordoned"] is False


async def test_a_running_machine_is_destroyed_only_by_force(harness: Harness) -> None:
    refused = await harness.client.delete(f"{MACHINES}/{DFW}")
    assert refused.status_code == 412
    assert "not currently stopped" in refused.json()["error"]
    assert harness.simulator.fleet.find(DFW) is not None

    forced = await harness.client.delete(f"{MACHINES}/{DFW}", params={"force": "true"})
    assert forced.json() == {"ok": True}
    gone = await harness.client.get(f"{MACHINES}/{DFW}")
    assert (gone.status_code, gone.json()["error"]) == (404, f'machine "{DFW}" is destroyed')


async def test_the_latest_twenty_events_are_kept_newest_first(harness: Harness) -> None:
    """F-10.18, F-1.101."""
    for _ in range(6):
        await harness.client.post(f"{MACHINES}/{DFW}/stop")
        await harness.client.post(f"{MACHINES}/{DFW}/kill")
        await harness.client.post(f"{MACHINES}/{DFW}/start")
        harness.simulator.become(DFW, MachineState.STOPPING)

    events = (await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]
    assert len(events) == 20
    assert (events[0]["type"], events[0]["status"], events[0]["source"]) == ("stop", "stopping", "user")
    times = [event["timestamp"] for event in events]
    assert times == sorted(times, reverse=True)


async def test_wait_answers_at_once_for_a_state_that_is_there(harness: Harness) -> None:
    assert (await harness.client.get(f"{MACHINES}/{DFW}/wait")).json() == {"ok": True}


async def test_wait_answers_when_the_state_comes(harness: Harness) -> None:
    waiting = asyncio.create_task(harness.client.get(f"{MACHINES}/{DFW}/wait", params={"state": "stopped"}))
    await until_open(harness.streams, 1)

    harness.simulator.become(DFW, MachineState.STOPPING)
    assert not waiting.done()
    harness.simulator.become(DFW, MachineState.STOPPED)
    # A state that has passed already by the time one looks counts, too.
    harness.simulator.become(DFW, MachineState.STARTING)

    assert (await waiting).json() == {"ok": True}
    assert len(harness.streams) == 0


async def test_wait_for_destroyed_answers_once_it_is_gone_and_ever_after(harness: Harness) -> None:
    wait = {"state": "destroyed"}
    waiting = asyncio.create_task(harness.client.get(f"{MACHINES}/{DFW}/wait", params=wait))
    await until_open(harness.streams, 1)

    await harness.simulator.destroy_machine(DFW)

    assert (await waiting).json() == {"ok": True}
    assert (await harness.client.get(f"{MACHINES}/{DFW}/wait", params=wait)).json() == {"ok": True}


async def test_wait_ends_with_408_and_the_state_that_it_is_in(harness: Harness) -> None:
    answer = await harness.client.get(f"{MACHINES}/{DFW}/wait", params={"state": "stopped", "timeout": "1"})

    assert answer.status_code == 408
    words = "deadline_exceeded: machine failed to reach desired state, stopped, currently started"
    assert answer.json() == {"error": words}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"state": "up"}, 'state is "up"; expected one of created, started,'),
        ({"timeout": "0"}, 'timeout is "0"; expected a whole number from 1 to 600'),
        ({"timeout": "soon"}, 'timeout is "soon"; expected a whole number from 1 to 600'),
    ],
)
async def test_a_wait_that_makes_no_sense_is_refused(
    harness: Harness, query: dict[str, str], problem: str
) -> None:
    answer = await harness.client.get(f"{MACHINES}/{DFW}/wait", params=query)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/v1/nothing", 404, "there is no /v1/nothing here"),
        ("GET", f"{MACHINES}/{DFW}/stop", 405, f"{MACHINES}/{DFW}/stop does not take GET, only POST"),
    ],
)
async def test_what_there_is_not_is_said_in_json(
    harness: Harness, method: str, path: str, status: int, problem: str
) -> None:
    answer = await harness.client.request(method, path)

    assert (answer.status_code, answer.json()) == (status, {"error": problem})

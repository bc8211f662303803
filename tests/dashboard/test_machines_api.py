"""Fly's Machines API in the control API, over real sockets."""

from __future__ import annotations

import asyncio

import pytest

from simulator.routing.model import MachineState
from tests.dashboard.harness import AMS, DFW, OTHER, Harness, until_open

MACHINES = "/v1/apps/chat/machines"


async def test_a_machine_has_the_shape_of_flys_api(harness: Harness) -> None:
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


async def test_the_list_has_the_machines_of_one_app_and_can_be_filtered_by_region(harness: Harness) -> None:
    everywhere = (await harness.client.get(MACHINES)).json()
    in_dallas = (await harness.client.get(MACHINES, params={"region": "dfw"})).json()

    assert [machine["id"] for machine in everywhere] == [AMS, DFW]
    assert [machine["id"] for machine in in_dallas] == [DFW]


async def test_an_unknown_app_is_404_with_the_known_apps(harness: Harness) -> None:
    response = await harness.client.get("/v1/apps/chatt/machines")

    assert response.status_code == 404
    assert response.json() == {"error": 'there is no app "chatt"; expected one of chat, shop'}


@pytest.mark.parametrize("path", ["", "/start", "/wait"])
async def test_an_unknown_machine_is_404_with_the_known_machines(harness: Harness, path: str) -> None:
    method = "POST" if path == "/start" else "GET"

    response = await harness.client.request(method, f"{MACHINES}/{OTHER}{path}")

    assert response.status_code == 404
    problem = f'app chat has no machine "{OTHER}"; expected one of {AMS} (ams-1), {DFW} (dfw-1)'
    assert response.json() == {"error": problem}


async def test_stop_and_start_change_the_state_and_return_the_previous_one(harness: Harness) -> None:
    stopped = await harness.client.post(f"{MACHINES}/{DFW}/stop")
    assert stopped.json() == {"ok": True}
    assert harness.simulator.fleet.find(DFW).state is MachineState.STOPPED  # type: ignore[union-attr]

    started = await harness.client.post(f"{MACHINES}/{DFW}/start")
    assert started.json() == {"previous_state": "stopped", "migrated": False, "new_host": ""}
    assert harness.simulator.fleet.find(DFW).state is MachineState.STARTED  # type: ignore[union-attr]


async def test_starting_a_started_machine_is_not_an_error(harness: Harness) -> None:
    """As observed on Fly: 200 with the previous state."""
    response = await harness.client.post(f"{MACHINES}/{DFW}/start")

    assert response.json()["previous_state"] == "started"
    assert len((await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]) == 1


async def test_starting_a_stopping_machine_is_a_failed_precondition(harness: Harness) -> None:
    harness.simulator.set_state(DFW, MachineState.STOPPING)

    response = await harness.client.post(f"{MACHINES}/{DFW}/start")

    assert response.status_code == 412
    problem = f"failed_precondition: cannot start machine {DFW}: it is stopping"
    assert response.json() == {"error": problem, "exit_status": 2}


async def test_suspending_a_suspended_machine_changes_nothing(harness: Harness) -> None:
    for _ in range(2):
        assert (await harness.client.post(f"{MACHINES}/{DFW}/suspend")).json() == {"ok": True}

    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["state"] == "suspended"
    assert len((await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]) == 2


async def test_cordon_and_uncordon(harness: Harness) -> None:
    await harness.client.post(f"{MACHINES}/{DFW}/cordon")
    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["cordoned"] is True

    await harness.client.post(f"{MACHINES}/{DFW}/uncordon")
    assert (await harness.client.get(f"{MACHINES}/{DFW}")).json()["cordoned"] is False


async def test_a_running_machine_is_destroyed_only_with_force(harness: Harness) -> None:
    refused = await harness.client.delete(f"{MACHINES}/{DFW}")
    assert refused.status_code == 412
    assert "not currently stopped" in refused.json()["error"]
    assert harness.simulator.fleet.find(DFW) is not None

    forced = await harness.client.delete(f"{MACHINES}/{DFW}", params={"force": "true"})
    assert forced.json() == {"ok": True}
    destroyed = await harness.client.get(f"{MACHINES}/{DFW}")
    assert (destroyed.status_code, destroyed.json()["error"]) == (404, f'machine "{DFW}" is destroyed')


async def test_the_latest_twenty_events_are_listed_newest_first(harness: Harness) -> None:
    """F-10.18, F-1.101."""
    for _ in range(6):
        await harness.client.post(f"{MACHINES}/{DFW}/stop")
        await harness.client.post(f"{MACHINES}/{DFW}/kill")
        await harness.client.post(f"{MACHINES}/{DFW}/start")
        harness.simulator.set_state(DFW, MachineState.STOPPING)

    events = (await harness.client.get(f"{MACHINES}/{DFW}")).json()["events"]
    assert len(events) == 20
    assert (events[0]["type"], events[0]["status"], events[0]["source"]) == ("stop", "stopping", "user")
    times = [event["timestamp"] for event in events]
    assert times == sorted(times, reverse=True)


async def test_wait_returns_at_once_if_the_machine_is_in_the_state(harness: Harness) -> None:
    assert (await harness.client.get(f"{MACHINES}/{DFW}/wait")).json() == {"ok": True}


async def test_wait_returns_when_the_machine_reaches_the_state(harness: Harness) -> None:
    waiting = asyncio.create_task(harness.client.get(f"{MACHINES}/{DFW}/wait", params={"state": "stopped"}))
    await until_open(harness.streams, 1)

    harness.simulator.set_state(DFW, MachineState.STOPPING)
    assert not waiting.done()
    harness.simulator.set_state(DFW, MachineState.STOPPED)
    # The state counts even if the machine has left it when the response is made.
    harness.simulator.set_state(DFW, MachineState.STARTING)

    assert (await waiting).json() == {"ok": True}
    assert len(harness.streams) == 0


async def test_wait_for_destroyed_returns_after_the_machine_is_destroyed(harness: Harness) -> None:
    wait = {"state": "destroyed"}
    waiting = asyncio.create_task(harness.client.get(f"{MACHINES}/{DFW}/wait", params=wait))
    await until_open(harness.streams, 1)

    await harness.simulator.destroy_machine(DFW)

    assert (await waiting).json() == {"ok": True}
    assert (await harness.client.get(f"{MACHINES}/{DFW}/wait", params=wait)).json() == {"ok": True}


async def test_wait_times_out_with_408_and_the_current_state(harness: Harness) -> None:
    response = await harness.client.get(f"{MACHINES}/{DFW}/wait", params={"state": "stopped", "timeout": "1"})

    assert response.status_code == 408
    problem = "deadline_exceeded: machine failed to reach desired state, stopped, currently started"
    assert response.json() == {"error": problem}


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"state": "up"}, 'state is "up"; expected one of created, started,'),
        ({"timeout": "0"}, 'timeout is "0"; expected an integer from 1 to 600'),
        ({"timeout": "soon"}, 'timeout is "soon"; expected an integer from 1 to 600'),
    ],
)
async def test_a_wait_with_invalid_parameters_is_refused(
    harness: Harness, query: dict[str, str], problem: str
) -> None:
    response = await harness.client.get(f"{MACHINES}/{DFW}/wait", params=query)

    assert response.status_code == 400
    assert response.json()["error"].startswith(problem)


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/v1/nothing", 404, "there is no path /v1/nothing"),
        ("GET", f"{MACHINES}/{DFW}/stop", 405, f"{MACHINES}/{DFW}/stop does not allow GET, only POST"),
    ],
)
async def test_unknown_paths_and_methods_are_errors_in_json(
    harness: Harness, method: str, path: str, status: int, problem: str
) -> None:
    response = await harness.client.request(method, path)

    assert (response.status_code, response.json()) == (status, {"error": problem})

"""Machines read from recorded responses of a real engine about tasks."""

from __future__ import annotations

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.backend import Exit
from simulator.machines.swarm.service_log import Line, epoch_seconds, read_lines
from simulator.machines.swarm.task import Node, Phase, TaskSnapshot, snapshot_tasks
from simulator.machines.swarm.task_tracker import start_fault
from tests.machines.swarm.recorded_engine import NODE, RECORDED, ROW, SINGLE, recorded

SPEC = MachineSpec(id=SINGLE, name="ams-1", app="streams", region="ams", image="streams:1")


def snapshots(name: str) -> dict[str, TaskSnapshot]:
    return snapshot_tasks(recorded(name), {NODE: Node("10.1.2.3")})


def test_every_task_of_a_service_is_a_machine_with_an_id_of_its_own() -> None:
    fleet = snapshots("fleet")
    assert sorted(fleet) == [f"{ROW}0001", f"{ROW}0002", f"{ROW}0003", SINGLE]
    assert [fleet[each].shares_service for each in sorted(fleet)] == [True, True, True, False]
    assert len({snapshot.placement.address for snapshot in fleet.values()}) == 4


def test_a_machine_is_reached_at_the_port_that_its_node_chose() -> None:
    """The ports for IPv6 differ, and may be those of other machines for IPv4."""
    fleet = snapshots("fleet")
    assert {snapshot.placement.host for snapshot in fleet.values()} == {"10.1.2.3"}
    assert sorted(snapshot.placement.ports for snapshot in fleet.values()) == [
        ((8080, port),) for port in (32932, 32933, 32934, 32935)
    ]
    assert fleet[SINGLE].placement.port == dict(fleet[SINGLE].placement.ports)[8080]
    assert fleet[SINGLE].placement.is_forwarded


def test_a_machine_has_the_private_address_of_its_environment() -> None:
    ips = [snapshot.placement.private_ip for snapshot in snapshots("fleet").values()]
    assert all(ip.startswith("fdaa:0:1:") and "{" not in ip for ip in ips)
    assert len(set(ips)) == 4


@pytest.mark.parametrize(
    ("number", "phase"),
    [
        (1, Phase.START_FAILED),
        (2, Phase.PENDING),
        (3, Phase.ENDED),
        (4, Phase.START_FAILED),
        (5, Phase.START_FAILED),
        (6, Phase.ENDED),
        (7, Phase.RUNNING),
    ],
)
def test_each_state_of_swarm_maps_to_a_phase(number: int, phase: Phase) -> None:
    assert snapshots("states")[f"{number:014d}"].phase is phase


def test_a_task_without_a_region_is_not_a_machine() -> None:
    assert len(recorded("states")) == 8
    assert len(snapshots("states")) == 7


def test_a_machine_is_the_newest_of_its_tasks() -> None:
    older, newer = recorded("fleet")[0], recorded("fleet")[0]
    newer |= {"ID": "newer", "CreatedAt": "2099-01-01T00:00:00Z"}
    (found,) = snapshot_tasks([newer, older], {}).values()
    assert found.task_id == "newer"


def test_a_task_that_should_run_is_preferred_to_a_newer_one_that_ended() -> None:
    """The newer task belongs to another service with the same machine id."""
    older, newer = recorded("fleet")[0], recorded("fleet")[0]
    newer |= {"ID": "newer", "ServiceID": "another", "CreatedAt": "2099-01-01T00:00:00Z"}
    newer["Status"]["State"], newer["DesiredState"] = "complete", "shutdown"
    for tasks in ([newer, older], [older, newer]):
        (found,) = snapshot_tasks(tasks, {}).values()
        assert (found.task_id, found.duplicate) == (older["ID"], "")


@pytest.mark.parametrize(
    ("label", "published", "reached"),
    [
        ("3000", (8080, 3000), 33000),
        ("3000", (8080,), 3000),  # nothing listens there, and the health check reports it
        (None, (8080, 3000), 38080),
        (None, (3000, 9000), 33000),
        ("http", (3000, 8080), 38080),
        (None, (), 8080),
    ],
)
def test_the_port_is_that_of_the_label_then_of_the_app_then_the_first_published(
    label: str | None, published: tuple[int, ...], reached: int
) -> None:
    task = recorded("fleet")[0]
    labels = task["Spec"]["ContainerSpec"]["Labels"]
    del labels["fly.internal_port"]
    labels |= {"fly.internal_port": label} if label else {}
    task["Status"]["PortStatus"] = {
        "Ports": [{"TargetPort": port, "PublishedPort": 30000 + port} for port in published]
    }
    (found,) = snapshot_tasks([task], {}).values()
    assert found.placement_for(8080).port == reached


def test_a_task_asked_to_stop_is_stopping_and_one_without_a_node_is_stuck() -> None:
    states = snapshots("states")
    assert [each for each in sorted(states) if states[each].is_stopping] == ["00000000000007"]
    assert [each for each in sorted(states) if states[each].is_stuck] == ["00000000000002"]


def test_a_task_on_a_node_that_is_down_is_unreachable() -> None:
    """Swarm wants to stop it and does not know whether it still runs."""
    lost = snapshot_tasks(recorded("states"), {NODE: Node("10.1.2.3", is_down=True)})["00000000000007"]
    assert lost.phase is Phase.ENDED
    assert str(lost.ending) == "is unreachable: its node is down"
    assert not lost.is_stopping


@pytest.mark.parametrize(("status", "ending"), [(0, Exit(0)), (3, Exit(3)), (130, Exit(-2)), (137, Exit(-9))])
def test_an_exit_code_above_128_is_a_signal(status: int, ending: Exit) -> None:
    assert Exit.of_status(status) == ending


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (1, "docker build -t streams:1"),
        (2, "docker node update --label-add fly.region=ams NODE"),
        (4, "the image does not contain its program"),
        (5, "the port is in use on that node"),
    ],
)
def test_a_machine_that_swarm_does_not_start_is_reported_with_swarms_error_and_a_hint(
    number: int, hint: str
) -> None:
    error = snapshots("states")[f"{number:014d}"].error
    assert error
    fault = str(start_fault(SPEC, error, is_single_node=True))
    assert f"machine ams-1 of app streams was not started by Swarm: {error}" in fault
    assert hint in fault


def test_with_several_nodes_the_hint_names_a_registry() -> None:
    fault = str(start_fault(SPEC, "No such image: streams:1", is_single_node=False))
    assert "push it to a registry that all nodes can reach" in fault


def test_the_lines_of_a_log_come_with_their_task() -> None:
    with (RECORDED / "service.log").open("rb") as file:
        lines = list(read_lines(file))
    assert lines[0] == Line(
        "l62zz19a5bfiok7r3dngj31eq",
        "stdout",
        "2026-11-23T11:32:19.000250729Z",
        "[info] Listening on http://0.0.0.0:8080",
    )
    assert len({line.task_id for line in lines}) == 3
    assert epoch_seconds(lines[0].timestamp) == "1795433539"

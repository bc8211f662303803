"""Machines read from what a real engine said of tasks."""

from __future__ import annotations

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.backend import Exit
from simulator.machines.swarm.service_log import Line, epoch_seconds, read_lines
from simulator.machines.swarm.task import Node, Phase, TaskSnapshot, snapshot_tasks
from simulator.machines.swarm.task_tracker import start_fault
from tests.machines.swarm.recorded_engine import NODE, RECORDED, ROW, SINGLE, recorded

SPEC = MachineSpec(id=SINGLE, name="ams-1", app="streams", region="ams", image="streams:1")


def seen(name: str) -> dict[str, TaskSnapshot]:
    return snapshot_tasks(recorded(name), {NODE: Node("10.1.2.3")})


def test_every_task_of_a_service_is_a_machine_with_an_id_of_its_own() -> None:
    fleet = seen("fleet")
    assert sorted(fleet) == [f"{ROW}0001", f"{ROW}0002", f"{ROW}0003", SINGLE]
    assert [fleet[each].shares_service for each in sorted(fleet)] == [True, True, True, False]
    assert len({snapshot.placement.address for snapshot in fleet.values()}) == 4


def test_a_machine_is_reached_at_the_port_that_its_node_gave_it() -> None:
    """The numbers for IPv6 are others, and those of other machines for IPv4."""
    fleet = seen("fleet")
    assert {snapshot.placement.host for snapshot in fleet.values()} == {"10.1.2.3"}
    assert sorted(snapshot.placement.ports for snapshot in fleet.values()) == [
        ((8080, port),) for port in (32932, 32933, 32934, 32935)
    ]
    assert fleet[SINGLE].placement.port == dict(fleet[SINGLE].placement.ports)[8080]
    assert fleet[SINGLE].placement.is_forwarded


def test_a_machine_is_known_by_the_private_address_that_it_was_told() -> None:
    ips = [snapshot.placement.private_ip for snapshot in seen("fleet").values()]
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
def test_a_state_of_swarm_is_a_phase(number: int, phase: Phase) -> None:
    assert seen("states")[f"{number:014d}"].phase is phase


def test_a_task_without_a_region_is_no_machine() -> None:
    assert len(recorded("states")) == 8
    assert len(seen("states")) == 7


def test_a_machine_is_the_newest_of_its_tasks() -> None:
    older, newer = recorded("fleet")[0], recorded("fleet")[0]
    newer |= {"ID": "newer", "CreatedAt": "2099-01-01T00:00:00Z"}
    (found,) = snapshot_tasks([newer, older], {}).values()
    assert found.task_id == "newer"


def test_a_task_that_is_meant_to_run_comes_before_a_newer_one_that_ended() -> None:
    """Of another service, which says that it is the same machine."""
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
        ("3000", (8080,), 3000),  # nobody listens there, which is told
        (None, (8080, 3000), 38080),
        (None, (3000, 9000), 33000),
        ("http", (3000, 8080), 38080),
        (None, (), 8080),
    ],
)
def test_a_label_says_the_port_then_the_app_then_what_is_published(
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


def test_one_that_is_told_to_end_is_leaving_and_one_that_finds_no_place_is_stuck() -> None:
    states = seen("states")
    assert [each for each in sorted(states) if states[each].is_stopping] == ["00000000000007"]
    assert [each for each in sorted(states) if states[each].is_stuck] == ["00000000000002"]


def test_what_ran_on_a_node_that_is_down_is_out_of_reach() -> None:
    """Swarm wants it gone and does not know whether it is."""
    lost = snapshot_tasks(recorded("states"), {NODE: Node("10.1.2.3", is_down=True)})["00000000000007"]
    assert lost.phase is Phase.ENDED
    assert str(lost.ending) == "is out of reach: its node is down"
    assert not lost.is_stopping


@pytest.mark.parametrize(("status", "ending"), [(0, Exit(0)), (3, Exit(3)), (130, Exit(-2)), (137, Exit(-9))])
def test_a_status_above_128_is_a_signal(status: int, ending: Exit) -> None:
    assert Exit.of_status(status) == ending


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (1, "docker build -t streams:1"),
        (2, "docker node update --label-add fly.region=ams NODE"),
        (4, "the image has no such program"),
        (5, "its port is taken on that node"),
    ],
)
def test_a_machine_that_swarm_does_not_start_is_told_in_its_words_with_the_mend(
    number: int, hint: str
) -> None:
    error = seen("states")[f"{number:014d}"].error
    assert error
    fault = str(start_fault(SPEC, error, is_single_node=True))
    assert f"machine ams-1 of app streams was not started by Swarm: {error}" in fault
    assert hint in fault


def test_on_several_nodes_an_image_has_to_come_from_a_registry() -> None:
    fault = str(start_fault(SPEC, "No such image: streams:1", is_single_node=False))
    assert "push it to a registry that all of them reach" in fault


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

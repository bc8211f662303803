"""Task poller: changes reported from snapshots of tasks, also for a thousand tasks."""

from __future__ import annotations

import asyncio
import copy
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from simulator.config import Config, load_config
from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.backend import Exit, Placement
from simulator.machines.swarm.task import UNKNOWN_EXIT
from simulator.machines.swarm.task_poller import TaskPoller
from simulator.testing import eventually
from tests.machines.swarm.recorded_engine import ROW, SINGLE, RecordedManager, frame, recorded, tasks_of_row

TOML = """
version = 1
[edges]
ams = 0
[apps.streams]
image = "streams:1"
machines = []
"""
THOUSAND = 1000


@dataclass
class Recorder:
    reports: list[tuple[str, ...]] = field(default_factory=list)
    specs: dict[str, MachineSpec] = field(default_factory=dict)

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        self.reports.append(("line", machine_id, line))

    def problem_reported(self, description: str, machine_id: str | None = None) -> None:
        self.reports.append(("problem", machine_id or "", description))

    def machine_exited(self, machine_id: str, exited: Exit) -> None:
        self.reports.append(("exited", machine_id, str(exited)))

    def machine_added(self, spec: MachineSpec) -> None:
        self.specs[spec.id] = spec
        self.reports.append(("joined", spec.id))

    def machine_started(self, machine_id: str, placement: Placement) -> None:
        self.reports.append(("began", machine_id))

    def machine_removed(self, machine_id: str) -> None:
        self.reports.append(("left", machine_id))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "flysim.toml").write_text(TOML)
    return load_config(tmp_path / "flysim.toml")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def poller_for(
    tasks: list[dict[str, Any]], config: Config, recorder: Recorder
) -> tuple[TaskPoller, RecordedManager]:
    manager = RecordedManager(tasks)
    return TaskPoller(manager, "fleet", config, recorder), manager  # type: ignore[arg-type]


async def wait_until_reported(poller: TaskPoller) -> None:
    """Wait until all exits of the latest poll have been reported."""
    await eventually(
        lambda: not any(each.is_reporting_exit for each in poller.tracked.values()), "the reports"
    )


async def test_running_tasks_join_as_machines_and_start(config: Config, recorder: Recorder) -> None:
    poller, _ = poller_for(recorded("fleet"), config, recorder)
    await poller.poll()
    assert sorted(recorder.reports) == sorted(
        (what, each)
        for what in ("joined", "began")
        for each in (SINGLE, *(f"{ROW}000{n}" for n in (1, 2, 3)))
    )
    assert recorder.specs[SINGLE].region == "ams"
    assert sorted(spec.name for spec in recorder.specs.values()) == ["ams-1", "dfw-1", "dfw-2", "dfw-3"]
    await poller.poll()
    assert len(recorder.reports) == 8


async def test_an_invalid_label_is_named(config: Config, recorder: Recorder) -> None:
    tasks = recorded("fleet")
    tasks[0]["Spec"]["ContainerSpec"]["Labels"]["fly.app"] = "strams"
    poller, _ = poller_for(tasks, config, recorder)
    with pytest.raises(InputError, match=r'task \d of service .*: the label fly.app is "strams".*streams'):
        await poller.poll()


def labels_of(task: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = task["Spec"]["ContainerSpec"]["Labels"]
    return labels


def another(task: dict[str, Any], **labels: str) -> dict[str, Any]:
    """A later task of another service; `fly_region="ams"` sets the label fly.region, and so on."""
    task = copy.deepcopy(task)
    task |= {"ID": "another", "ServiceID": "another-service", "CreatedAt": "2099-01-01T00:00:00Z"}
    labels_of(task).update({name.replace("_", ".", 1): value for name, value in labels.items()})
    return task


PORT_HTTP = r'the label fly.internal_port is "http"\n  expected: a port from 1 to 65535'


@pytest.mark.parametrize("is_known", [False, True], ids=["joins", "of the config"])
async def test_an_invalid_port_label_is_an_error_at_the_start(
    config: Config, recorder: Recorder, is_known: bool
) -> None:
    tasks = recorded("fleet")
    labels_of(tasks[1])["fly.internal_port"] = "http"
    poller, _ = poller_for(tasks, config, recorder)
    if is_known:
        poller.specs[SINGLE] = MachineSpec(SINGLE, "ams-1", "streams", "ams")
    with pytest.raises(InputError, match=rf"task 1 of service {tasks[1]['ServiceID']}: {PORT_HTTP}"):
        await poller.poll()


async def test_two_services_with_the_same_machine_id_are_an_error_at_the_start(
    config: Config, recorder: Recorder
) -> None:
    tasks = recorded("fleet")
    poller, _ = poller_for([*tasks, another(tasks[1])], config, recorder)
    both = rf"service {tasks[1]['ServiceID']} and task 1 of service another-service have the same machine id {SINGLE}"
    with pytest.raises(InputError, match=rf"{both}.*\n  expected: a different fly.machine_id"):
        await poller.poll()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"fly_machine_id": "0" * 14, "fly_region": "lon"}, 'the label fly.region is "lon"'),
        ({"fly_machine_id": "0" * 14, "fly_internal_port": "http"}, PORT_HTTP),
        ({}, f"have the same machine id {SINGLE}"),
    ],
    ids=["region", "port", "duplicate"],
)
async def test_a_problem_of_a_task_that_joins_later_is_reported_once(
    config: Config, recorder: Recorder, labels: dict[str, str], message: str
) -> None:
    tasks = recorded("fleet")
    poller, manager = poller_for(tasks, config, recorder)
    await poller.poll()
    poller.open()
    recorder.reports.clear()
    manager.listed = [*tasks, another(tasks[1], **labels)]
    for _ in range(3):
        await poller.poll()
    ((what, _, line),) = recorder.reports
    assert what == "problem"
    assert re.search(f"^task 1 of service .*{message}", line)

    manager.listed = tasks
    await poller.poll()
    manager.listed = [*tasks, another(tasks[1], **labels)]
    await poller.poll()
    assert [each[2] for each in recorder.reports] == [line, line], (
        "it occurred again, so it is reported again"
    )
    await poller.close()


async def test_a_duplicate_becomes_the_machine_when_the_first_task_has_ended(
    config: Config, recorder: Recorder
) -> None:
    tasks = recorded("fleet")
    duplicate = another(tasks[1])
    poller, manager = poller_for(tasks, config, recorder)
    await poller.poll()
    poller.open()
    manager.listed = [*tasks, duplicate]
    await poller.poll()
    assert poller.tracked[SINGLE].running_task_id == tasks[1]["ID"]
    tasks[1]["Status"]["State"], tasks[1]["DesiredState"] = "complete", "shutdown"
    await eventually(
        lambda: poller.tracked[SINGLE].running_task_id == duplicate["ID"], "the duplicate's start"
    )
    await poller.close()


async def test_a_failed_poll_is_reported_and_followed_by_another(config: Config, recorder: Recorder) -> None:
    tasks = recorded("fleet")
    poller, manager = poller_for(tasks, config, recorder)
    await poller.poll()
    poller.open()
    recorder.reports.clear()
    manager.listed = [{"ID": "of a future API version"}]
    async with poller.fast_polling():
        await eventually(lambda: bool(recorder.reports), "the report of the failure")
    ((_, _, line),) = recorder.reports
    assert line == "cannot read the tasks of the stack fleet: KeyError('Spec')"
    manager.listed = tasks[1:]
    await eventually(lambda: ("left", f"{ROW}0002") in recorder.reports, "the next poll")
    assert [each[0] for each in recorder.reports].count("problem") == 1
    await poller.close()


async def test_a_problem_of_the_first_task_is_reported_although_there_is_no_machine(
    config: Config, recorder: Recorder
) -> None:
    tasks = recorded("fleet")
    poller, manager = poller_for([], config, recorder)
    await poller.poll()
    poller.open()
    manager.listed = [another(tasks[1], fly_region="lon")]
    await poller.poll()
    ((what, _, description),) = recorder.reports
    assert (what, poller.tracked) == ("problem", {})
    assert 'the label fly.region is "lon"' in description
    await poller.close()


async def test_an_exit_is_reported_once(config: Config, recorder: Recorder) -> None:
    poller, manager = poller_for(recorded("fleet"), config, recorder)
    await poller.poll()
    recorder.reports.clear()
    ended = next(task for task in manager.listed if task["Spec"]["ContainerSpec"]["Hostname"] == SINGLE)
    ended["Status"] |= {"State": "failed", "ContainerStatus": {"ContainerID": "x", "PID": 0, "ExitCode": 137}}
    for _ in range(3):
        await poller.poll()
        await wait_until_reported(poller)
    assert recorder.reports == [("exited", SINGLE, str(Exit(-9)))]


async def test_a_missing_task_of_a_shared_service_leaves_and_that_of_a_single_service_can_return(
    config: Config, recorder: Recorder
) -> None:
    tasks = recorded("fleet")
    poller, manager = poller_for(tasks, config, recorder)
    await poller.poll()
    recorder.reports.clear()
    services = await manager.services("fleet")

    async def all_services(stack: str) -> dict[str, Any]:
        return services

    manager.services = all_services  # type: ignore[method-assign]
    manager.listed = [task for task in tasks if task["Slot"] != 1]
    for _ in range(2):
        await poller.poll()
        await wait_until_reported(poller)
    unknown = str(UNKNOWN_EXIT)
    assert sorted(recorder.reports) == [
        ("exited", f"{ROW}0001", unknown),
        ("exited", SINGLE, unknown),
        ("left", f"{ROW}0001"),
    ]
    recorder.reports.clear()
    manager.listed = [
        task | {"ID": f"new-{task['ID']}"} for task in tasks if task["Slot"] == 1
    ] + manager.listed
    await poller.poll()
    assert sorted(recorder.reports) == [("began", f"{ROW}0001"), ("began", SINGLE), ("joined", f"{ROW}0001")]


async def test_the_exit_of_a_replaced_task_is_reported_with_its_own_exit_code(
    config: Config, recorder: Recorder
) -> None:
    poller, manager = poller_for(recorded("fleet"), config, recorder)
    await poller.poll()
    recorder.reports.clear()
    ended = next(task for task in manager.listed if task["Spec"]["ContainerSpec"]["Hostname"] == SINGLE)
    manager.listed.append({**copy.deepcopy(ended), "ID": "another", "CreatedAt": "2099-01-01T00:00:00Z"})
    ended["Status"] |= {"State": "failed", "ContainerStatus": {"ContainerID": "x", "PID": 0, "ExitCode": 137}}
    for _ in range(2):
        await poller.poll()
        await wait_until_reported(poller)
    assert recorder.reports == [("exited", SINGLE, str(Exit(-9))), ("began", SINGLE)]


async def test_concurrent_polls_report_a_missing_machine_once(config: Config, recorder: Recorder) -> None:
    """During removal, the backend polls in addition to the periodic polling."""
    poller, manager = poller_for(recorded("fleet"), config, recorder)
    await poller.poll()
    manager.listed, poller.is_closing = [], True
    for _ in range(2):
        await asyncio.gather(poller.poll(), poller.poll(), poller.poll())
        await wait_until_reported(poller)
    assert not poller.tracked


async def test_a_machine_can_be_released_during_a_poll(config: Config, recorder: Recorder) -> None:
    poller, manager = poller_for(recorded("fleet"), config, recorder)
    await poller.poll()

    async def release_during_request(stack: str) -> dict[str, Any]:
        poller.tracked.pop(SINGLE)
        return {}

    manager.services = release_during_request  # type: ignore[method-assign]
    manager.listed = []
    await poller.poll()
    assert SINGLE not in poller.tracked


async def test_lines_logged_before_the_first_snapshot_are_emitted_after_the_start(
    config: Config, recorder: Recorder
) -> None:
    """Lines arrive as they are written, while polls are half a second apart."""
    tasks = recorded("fleet")
    poller, manager = poller_for(tasks, config, recorder)
    old = next(each for each in tasks if each["Spec"]["ContainerSpec"]["Hostname"] == SINGLE)
    manager.written[old["ServiceID"]] = [
        frame("later", 1, "first line"),
        frame("foreign", 2, "of no machine"),
    ]
    await poller.poll()
    await eventually(lambda: manager.logs_read == 1, "the line")
    recorder.reports.clear()
    new = copy.deepcopy(old) | {"ID": "later", "CreatedAt": "2099-01-01T00:00:00Z"}
    old["Status"]["State"], old["DesiredState"] = "failed", "shutdown"
    manager.listed = [*tasks, new]
    for _ in range(3):
        await poller.poll()
        await wait_until_reported(poller)
    await poller.close()
    reports = [each for each in recorder.reports if each[1] == SINGLE]
    assert [what for what, *_ in reports] == ["exited", "began", "line"]
    assert reports[-1][2] == "first line"


async def test_a_thousand_machines_need_one_request_per_poll(config: Config, recorder: Recorder) -> None:
    poller, manager = poller_for(tasks_of_row(THOUSAND), config, recorder)
    await poller.poll()
    assert recorder.reports.count(("began", f"{ROW}1000")) == 1
    assert len(recorder.reports) == 2 * THOUSAND
    before = manager.requests
    await poller.poll()
    assert manager.requests == before + 1
    assert len(recorder.reports) == 2 * THOUSAND

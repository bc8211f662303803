"""Disruptions of the engine, of containers and of flysim's shutdown: no hang, no lost event, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from simulator.config import load_config
from simulator.machines.backend import Exit
from simulator.machines.docker import DockerBackend
from simulator.machines.docker.image.images import PYTHON_IMAGE
from simulator.machines.docker.project import Project
from simulator.routing.model import MachineState
from simulator.runtime import Simulator
from simulator.testing import RecordingObserver, eventually
from tests.docker.runs import cleanup_processes_of, objects_of, run_id_of
from tests.docker.swarm import docker
from tests.docker.test_containers import AMS, DFW, DFW_2, container_of, state_of
from tests.docker.wire import ENGINE, Wire, wire_to_engine
from tests.e2e.command import ROOT, start_up, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

SERVES = ("python3", "-m", "http.server", "8080")
CRASHES = "echo >> /tmp/runs; [ $(wc -l < /tmp/runs) -gt 6 ] && exec python3 -m http.server 8080; echo oh no; exit 3"
"""A shell command that exits six times, then serves. Docker doubles its pause from 0.1 s on: the sixth takes 3.2 s."""


@pytest.fixture
def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    with wire_to_engine(tmp_path / "engine") as wire:
        monkeypatch.setenv("DOCKER_HOST", wire.host)
        yield wire


@pytest.fixture
async def simulator(wire: Wire) -> AsyncIterator[Simulator]:
    config = load_config(ROOT / "flysim.toml")
    async with Simulator(config, realtime=False, free_ports=True, backend="docker") as simulator:
        yield simulator


def is_back(simulator: Simulator, machine_id: str = DFW) -> bool:
    machine = simulator.fleet.find(machine_id)
    return machine is not None and machine.is_candidate


def at_the_engine(*arguments: str) -> str:
    """Run a docker command on the engine itself, not through the wire."""
    return docker("--host", f"unix://{ENGINE}", *arguments)


async def test_changes_during_a_lost_connection_are_found_after_the_reconnection(
    simulator: Simulator, wire: Wire
) -> None:
    killed = container_of(simulator, DFW)
    wire.cut()
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "the lost connection")
    at_the_engine("kill", killed)
    wire.restore()

    await eventually(lambda: is_back(simulator, DFW_2), "the machine that kept running", within_seconds=20)
    assert state_of(simulator) is MachineState.STOPPED

    at_the_engine("start", killed)  # Events arrive again.
    await eventually(lambda: is_back(simulator), "its first check", within_seconds=20)


async def test_a_machine_restarted_several_times_is_routed_to_afterwards(simulator: Simulator) -> None:
    container = container_of(simulator, DFW)
    for _ in range(4):
        at_the_engine("restart", "--time", "0", container)

    await eventually(lambda: is_back(simulator), "its first check", within_seconds=20)
    await simulator.kill_machine(DFW)
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "its exit")


async def test_a_canceled_close_still_completes(wire: Wire) -> None:
    backend = DockerBackend()
    config = load_config(ROOT / "flysim.toml")
    async with Simulator(config, realtime=False, free_ports=True, backend=backend):
        run_id = backend.run_id
        before = len(objects_of(run_id))
        assert before == 5  # three machines, the gateway, a network
        closing = asyncio.create_task(backend.close())
        await eventually(lambda: len(objects_of(run_id)) < before, "the first removal", within_seconds=20)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert objects_of(run_id) == []


def test_two_interrupts_leave_nothing_behind(tmp_path: Path) -> None:
    with start_up(tmp_path, None, "--backend", "docker") as up:
        run_id = run_id_of(*cleanup_processes_of(up.process.pid))
        before = len(objects_of(run_id))
        up.process.send_signal(signal.SIGINT)
        wait_for(lambda: len(objects_of(run_id)) < before, "the first removal", up.log)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 130, up.log.read_text()
        assert objects_of(run_id) == []


@pytest.fixture
def project() -> Iterator[str]:
    """The name of a project, whose containers are removed after the test."""
    name = f"flysim-test-{secrets.token_hex(4)}"
    yield name
    if found := at_the_engine("ps", "-aq", "--filter", f"label=com.docker.compose.project={name}").split():
        at_the_engine("rm", "--force", *found)


def run_in(project: str, machine_id: str, *extra: str, command: tuple[str, ...] = SERVES) -> str:
    """Start a machine of the project as Compose does, and return the container's id."""
    labels = {"com.docker.compose.project": project, "fly.region": "ams", "fly.machine_id": machine_id}
    options = [*extra, *(word for key, value in labels.items() for word in ("--label", f"{key}={value}"))]
    return at_the_engine("run", "-d", "-p", "127.0.0.1::8080", *options, PYTHON_IMAGE, *command).strip()


async def test_containers_that_start_during_watch_join_once(wire: Wire, project: str, tmp_path: Path) -> None:
    recorder, backend = RecordingObserver(), DockerBackend(project=Project(project, tmp_path))
    run_in(project, AMS)
    watching = asyncio.create_task(backend.watch((), recorder))
    late = await asyncio.to_thread(run_in, project, DFW)
    await watching
    await eventually(lambda: "started" in recorder.of(DFW), "the second one", within_seconds=20)
    at_the_engine("kill", late)
    await eventually(lambda: bool(recorder.endings(DFW)), "its exit", within_seconds=20)

    assert recorder.of(AMS)[:2] == ["added", "started"]
    assert [each for each in recorder.of(DFW) if each in ("added", "started")] == ["added", "started"]
    await backend.close()


async def test_close_ends_all_streams_of_containers_that_keep_running(
    wire: Wire, project: str, tmp_path: Path
) -> None:
    backend = DockerBackend(project=Project(project, tmp_path))
    running = run_in(project, AMS)
    await backend.watch((), RecordingObserver())
    assert wire.open_connections >= 2  # the events, and the log
    await backend.close()

    await eventually(lambda: wire.open_connections == 0, "all streams to be closed")
    assert at_the_engine("inspect", "--format", "{{.State.Running}}", running).strip() == "true"


async def test_a_container_that_docker_restarts_until_it_runs_joins_in_the_end(
    wire: Wire, project: str, tmp_path: Path
) -> None:
    recorder, backend = RecordingObserver(), DockerBackend(project=Project(project, tmp_path))
    crashing = run_in(project, AMS, "--restart", "always", command=("sh", "-c", CRASHES))

    def is_between_runs() -> bool:
        """Whether Docker is in the sixth pause, the only one that is long enough for a busy machine."""
        attrs = json.loads(at_the_engine("inspect", crashing))[0]
        return attrs["State"]["Restarting"] and attrs["RestartCount"] == 6

    await eventually(is_between_runs, "a pause between two runs", within_seconds=20)
    await backend.watch((), recorder)
    await eventually(lambda: "started" in recorder.of(AMS)[2:], "the run that serves", within_seconds=20)

    reports = [str(each) for each in recorder.of(AMS)]
    added, crashed = reports[:2]
    assert added == "added"
    assert (
        f'{Exit(3)} immediately after its start: its last log line is "oh no"\n  hint: docker logs' in crashed
    )
    await backend.close()

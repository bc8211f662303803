"""What befalls an engine, its containers and flysim's own end: nothing hangs, nothing is lost, nothing is left."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from simulator.config import load_config
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
CRASHES = "echo >> /tmp/runs; [ $(wc -l < /tmp/runs) -gt 5 ] && exec python3 -m http.server 8080; echo oh no; exit 3"
"""As a command of a shell: five times, then it serves."""


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


def at_the_engine(*words: str) -> str:
    """Not by the wire."""
    return docker("--host", f"unix://{ENGINE}", *words)


async def test_what_happened_while_the_engine_did_not_answer_is_found_out(
    simulator: Simulator, wire: Wire
) -> None:
    killed = container_of(simulator, DFW)
    wire.cut()
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "the news of the loss")
    at_the_engine("kill", killed)
    wire.hint()

    await eventually(lambda: is_back(simulator, DFW_2), "the one that ran on", within_seconds=20)
    assert state_of(simulator) is MachineState.STOPPED

    at_the_engine("start", killed)  # And from now on it is heard again.
    await eventually(lambda: is_back(simulator), "its first check", within_seconds=20)


async def test_a_machine_that_is_restarted_again_and_again_is_there_in_the_end(simulator: Simulator) -> None:
    container = container_of(simulator, DFW)
    for _ in range(4):
        at_the_engine("restart", "--time", "0", container)

    await eventually(lambda: is_back(simulator), "its first check", within_seconds=20)
    await simulator.kill_machine(DFW)
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "its end")


async def test_an_end_that_is_cut_short_is_carried_through(wire: Wire) -> None:
    backend = DockerBackend()
    config = load_config(ROOT / "flysim.toml")
    async with Simulator(config, realtime=False, free_ports=True, backend=backend):
        run, there = backend.run, len(objects_of(backend.run))
        assert there == 5  # three machines, the gateway, a network
        ending = asyncio.create_task(backend.close())
        await eventually(lambda: len(objects_of(run)) < there, "the first one's end", within_seconds=20)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert objects_of(run) == []


def test_two_interruptions_leave_nothing(tmp_path: Path) -> None:
    with start_up(tmp_path, None, "--backend", "docker") as up:
        run = run_id_of(*cleanup_processes_of(up.process.pid))
        there = len(objects_of(run))
        up.process.send_signal(signal.SIGINT)
        wait_for(lambda: len(objects_of(run)) < there, "the first one's end", up.log)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 130, up.log.read_text()
        assert objects_of(run) == []


@pytest.fixture
def project() -> Iterator[str]:
    """The name of a project; its containers are removed."""
    name = f"flysim-test-{secrets.token_hex(4)}"
    yield name
    if found := at_the_engine("ps", "-aq", "--filter", f"label=com.docker.compose.project={name}").split():
        at_the_engine("rm", "--force", *found)


def run_in(project: str, machine_id: str, *more: str, command: tuple[str, ...] = SERVES) -> str:
    """A machine of the project, as Compose would start it: the container's id."""
    labels = {"com.docker.compose.project": project, "fly.region": "ams", "fly.machine_id": machine_id}
    options = [*more, *(word for key, value in labels.items() for word in ("--label", f"{key}={value}"))]
    return at_the_engine("run", "-d", "-p", "127.0.0.1::8080", *options, PYTHON_IMAGE, *command).strip()


async def test_containers_that_come_before_anybody_listens_join_and_are_met_once(
    wire: Wire, project: str, tmp_path: Path
) -> None:
    recorder, backend = RecordingObserver(), DockerBackend(project=Project(project, tmp_path))
    run_in(project, AMS)
    watching = asyncio.create_task(backend.watch((), recorder))
    late = await asyncio.to_thread(run_in, project, DFW)
    await watching
    await eventually(lambda: "began" in recorder.of(DFW), "the second one", within_seconds=20)
    at_the_engine("kill", late)
    await eventually(lambda: bool(recorder.endings(DFW)), "its end", within_seconds=20)

    assert recorder.of(AMS)[:2] == ["joined", "began"]
    assert [each for each in recorder.of(DFW) if each in ("joined", "began")] == ["joined", "began"]
    await backend.close()


async def test_at_the_end_nobody_listens_to_containers_that_run_on(
    wire: Wire, project: str, tmp_path: Path
) -> None:
    backend = DockerBackend(project=Project(project, tmp_path))
    running = run_in(project, AMS)
    await backend.watch((), RecordingObserver())
    assert wire.open_connections >= 2  # the events, and the log
    await backend.close()

    await eventually(lambda: wire.open_connections == 0, "the end of all streams")
    assert at_the_engine("inspect", "--format", "{{.State.Running}}", running).strip() == "true"


async def test_a_container_that_docker_restarts_until_it_runs_is_met_in_the_end(
    wire: Wire, project: str, tmp_path: Path
) -> None:
    recorder, backend = RecordingObserver(), DockerBackend(project=Project(project, tmp_path))
    crashing = run_in(project, AMS, "--restart", "always", command=("sh", "-c", CRASHES))

    def pauses() -> bool:
        """Between two runs, for long enough to be looked at."""
        described = json.loads(at_the_engine("inspect", crashing))[0]
        return described["State"]["Restarting"] and described["RestartCount"] >= 3

    await eventually(pauses, "a pause between two runs", within_seconds=20)
    await backend.watch((), recorder)
    await eventually(lambda: "began" in recorder.of(AMS)[2:], "the run that serves", within_seconds=20)

    told = [str(each) for each in recorder.of(AMS)]
    joined, crashed = told[:2]
    assert joined == "joined"
    assert 'exited with status 3 as soon as it was started: its last line is "oh no"; docker logs' in crashed
    await backend.close()

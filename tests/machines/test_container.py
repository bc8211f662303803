"""State of a container when the engine rejects requests, and when its events are late, early or missing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Exit, Placement
from simulator.machines.docker.container.machine_container import MachineContainer
from simulator.machines.docker.engine import Engine, EngineError
from simulator.machines.docker.events import ContainerEvent
from simulator.testing import RecordingObserver, eventually, machine_id, machine_spec
from tests.machines.fake_engine import FakeEngine, Truncated, run_fake_engine

ONE = machine_id(1)
KILLED = Exit(-9)


def state(
    *,
    running: bool = True,
    paused: bool = False,
    restarting: bool = False,
    status: int = 0,
    networks: Sequence[str] = (),
) -> tuple[int, Any]:
    endpoint = {"IPAMConfig": None, "Aliases": []}
    return 200, {
        "Config": {"Tty": False},
        "State": {"Running": running, "Paused": paused, "Restarting": restarting, "ExitCode": status},
        "NetworkSettings": {"Networks": dict.fromkeys(networks, endpoint)},
    }


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    responses = {"json": state(), "attach": (200, None), "unpause": (500, {"message": "it is not paused"})}
    with run_fake_engine(tmp_path / "engine", responses, (204, None)) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


@pytest.fixture
async def engine(server: FakeEngine) -> AsyncIterator[Engine]:
    engine = await Engine.connect()
    yield engine
    engine.close()


@pytest.fixture
def recorder() -> RecordingObserver:
    return RecordingObserver()


def make_container(engine: Engine, recorder: RecordingObserver, **spec_fields: Any) -> MachineContainer:
    spec = replace(machine_spec(1, ()), is_adopted=True, **spec_fields)
    return MachineContainer(engine, "c1", spec, Placement("127.0.0.1", 1, "::1"), recorder)


@pytest.fixture
def fresh(engine: Engine, recorder: RecordingObserver) -> MachineContainer:
    """A container that has not been started."""
    return make_container(engine, recorder)


@pytest.fixture
async def container(engine: Engine, recorder: RecordingObserver) -> MachineContainer:
    """A running container."""
    container = make_container(engine, recorder)
    await container.refresh()
    assert recorder.of(ONE) == ["started"]
    recorder.reports.clear()
    return container


def event(action: str, status: int = 0) -> ContainerEvent:
    return ContainerEvent("c1", action, {"exitCode": str(status)})


async def test_an_exit_and_an_immediate_restart_are_both_reported(
    container: MachineContainer, recorder: RecordingObserver
) -> None:
    """The report of the exit waits for the last log lines; the start must not overtake it or get lost."""
    await asyncio.gather(container.handle_event(event("die", 137)), container.handle_event(event("start")))
    assert recorder.of(ONE) == [KILLED, "started"]


async def test_a_start_and_an_immediate_exit_are_both_reported(
    container: MachineContainer, recorder: RecordingObserver
) -> None:
    await container.handle_event(event("die", 1))
    await asyncio.gather(container.handle_event(event("start")), container.handle_event(event("die", 2)))
    assert recorder.of(ONE) == [Exit(1), "started", Exit(2)]


EARLY_EXIT = f"machine ams-1 of app chat {Exit(1)} immediately after its start"


def log_of(text: bytes) -> tuple[int, bytes]:
    return 200, bytes([1, 0, 0, 0]) + len(text).to_bytes(4) + text


async def test_runs_that_end_before_they_are_inspected_are_reported_once(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    """For example in a crash loop with a restart policy."""
    server.responses["logs"] = log_of(b"no database\n")
    await container.handle_event(event("die", 1))
    server.responses["json"] = state(running=False, status=1)
    for _ in range(3):
        await container.handle_event(event("start"))
        await container.handle_event(event("die", 1))
    assert recorder.of(ONE) == [
        Exit(1),
        f'{EARLY_EXIT}: its last log line is "no database"\n  hint: docker logs c1 shows all lines',
    ]
    server.responses["json"] = state()
    await container.handle_event(event("start"))
    await container.handle_event(event("die", 0))
    server.responses["json"] = state(running=False, status=1)
    server.responses["logs"] = log_of(b"\n")
    await container.handle_event(event("start"))
    assert recorder.of(ONE)[2:] == ["started", Exit(0), f"{EARLY_EXIT}: its log is empty"]


async def test_an_early_exit_without_a_readable_log_says_so(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["logs"] = 501, {"message": "configured logging driver does not support reading"}
    server.responses["json"] = state(running=False, status=1)
    await fresh.handle_event(event("start"))
    assert recorder.of(ONE) == [f"{EARLY_EXIT}: its log is not available"]


async def test_a_run_that_could_not_be_inspected_is_not_an_early_exit(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["attach"] = 500, {"message": "not now"}
    with pytest.raises(EngineError, match="not now"):
        await fresh.handle_event(event("start"))
    await fresh.handle_event(event("die", 1))
    assert recorder.of(ONE) == []


async def test_a_run_of_a_removed_container_is_not_reported(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["json"] = 404, {"message": "No such container: c1"}
    await fresh.handle_event(event("start"))
    await fresh.handle_event(event("destroy"))
    assert recorder.of(ONE) == []


async def test_an_exit_that_was_found_before_its_event_is_not_an_early_exit(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["json"] = state(running=False, status=1)
    await container.refresh()
    await container.handle_event(event("die", 1))
    assert recorder.of(ONE) == [Exit(1)]


async def test_a_container_that_is_already_paused_is_adopted_as_paused(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    """The engine does not attach to a paused container."""
    server.responses["json"] = state(paused=True)
    server.responses["attach"] = (
        409,
        {"message": "container c1 is paused, unpause the container before attach"},
    )
    await fresh.refresh()
    assert recorder.of(ONE) == ["started", "paused"]

    server.responses |= {"json": state(), "attach": (200, None)}
    await fresh.handle_event(event("unpause"))
    assert recorder.of(ONE)[2:] == ["unpaused"]
    assert server.has_request("attach")


@pytest.mark.parametrize("response", [(404, "no such container"), (409, "it is not running")])
async def test_a_kill_of_a_container_that_has_exited_reports_the_exit(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine, response: tuple[int, str]
) -> None:
    """The exit event may never arrive, and flysim would wait for it forever."""
    status, message = response
    server.responses["kill"] = (status, {"message": message})
    server.responses["json"] = (
        state(running=False, status=3) if status == 409 else (404, {"message": message})
    )
    await asyncio.wait_for(container.kill(), 5)
    assert recorder.of(ONE) == [Exit(3) if status == 409 else KILLED]


async def test_a_missing_exit_event_is_replaced_by_an_inspection(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    killing = asyncio.create_task(container.kill())
    await eventually(lambda: server.has_request("kill"), "the request")
    server.responses["kill"] = (409, {"message": "it is not running"})
    server.responses["json"] = state(running=False, status=137)
    await asyncio.wait_for(killing, 5)
    assert recorder.of(ONE) == [KILLED]


async def test_a_rejected_kill_raises_the_error_of_the_engine(
    container: MachineContainer, server: FakeEngine
) -> None:
    server.responses["kill"] = (500, {"message": "permission denied"})
    with pytest.raises(EngineError, match="permission denied"):
        await container.kill()
    with pytest.raises(EngineError, match="permission denied"):
        await container.stop()


async def test_a_rejected_pause_leaves_the_container_unpaused(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["pause"] = (500, {"message": "the freezer cgroup is not there"})
    with pytest.raises(EngineError, match="the freezer cgroup is not there"):
        await container.suspend()
    server.responses["json"] = state(paused=True)  # So this pause is external.
    await container.handle_event(event("pause"))
    assert recorder.of(ONE) == ["paused"]


async def test_a_rejected_resume_raises_the_error_of_the_engine(
    container: MachineContainer, server: FakeEngine
) -> None:
    await container.suspend()
    server.responses["json"] = state(paused=True)
    with pytest.raises(EngineError, match="it is not paused"):
        await container.resume()


@pytest.mark.parametrize(
    "is_resumed_externally", [False, True], ids=["resumed by flysim", "resumed externally"]
)
async def test_an_externally_paused_container_stays_paused_unless_it_is_resumed_externally(
    container: MachineContainer, server: FakeEngine, is_resumed_externally: bool
) -> None:
    server.responses |= {"json": state(paused=True), "unpause": (204, None)}
    await container.handle_event(event("pause"))
    if not is_resumed_externally:
        await container.resume()
    server.responses["json"] = state()
    await container.handle_event(event("unpause"))
    await container.restore()
    assert server.has_request("containers/c1/pause") is not is_resumed_externally


async def test_a_rejected_start_leaves_the_container_stopped(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["start"] = (500, {"message": "Bind for 127.0.0.1:1 failed: port is already allocated"})
    with pytest.raises(
        EnvironmentFault, match=r"publishes a port that is in use: Bind for .*\n  hint: .*docker ps"
    ):
        await fresh.start()
    await asyncio.wait_for(fresh.kill(), 5)
    assert recorder.reports == []


async def test_a_canceled_start_leaves_nothing_to_wait_for(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    """The request in flight is rejected after the cancellation, and nothing is reported."""
    server.responses["start"] = (500, {"message": "no space left on device"})
    starting = asyncio.create_task(fresh.start())
    await eventually(lambda: server.has_request("start"), "the request")
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await asyncio.wait_for(fresh.kill(), 5)
    assert recorder.endings(ONE) == []


async def test_a_late_exit_event_of_an_earlier_run_does_not_end_a_later_one(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    starting = asyncio.create_task(fresh.start())
    await asyncio.sleep(0)
    await fresh.handle_event(event("die", 137))
    await starting
    await fresh.refresh()
    assert fresh.is_running
    assert recorder.endings(ONE) == []


async def test_a_network_that_cannot_be_reconnected_is_named(
    container: MachineContainer, server: FakeEngine
) -> None:
    server.responses["json"] = state(networks=["fleet", "other"])
    assert await container.isolate()
    server.responses["POST /networks/fleet/connect"] = (500, {"message": "no addresses left"})
    for requested in (["fleet", "other"], ["fleet"]):
        server.requests.clear()
        with pytest.raises(
            EnvironmentFault, match=r"fleet: no addresses left\n  hint: docker network connect"
        ):
            await container.rejoin()
        assert joined(server) == requested
    del server.responses["POST /networks/fleet/connect"]
    await container.rejoin()
    assert joined(server) == ["fleet", "fleet"]


def joined(server: FakeEngine) -> list[str]:
    """The networks that were requested to connect the container."""
    return [each.split("/")[2] for each in server.requests if each.endswith("/connect")]


async def test_a_canceled_disconnect_is_undone_by_rejoin(
    container: MachineContainer, server: FakeEngine
) -> None:
    """The engine carries out a request even if its caller is canceled."""
    server.responses["json"] = state(networks=["fleet", "other"])
    server.blocked["disconnect"] = threading.Event()
    disconnecting = asyncio.create_task(container.isolate())
    await eventually(lambda: server.has_request("networks/fleet/disconnect"), "the request")
    disconnecting.cancel()
    await asyncio.sleep(0)
    server.blocked["disconnect"].set()
    with pytest.raises(asyncio.CancelledError):
        await disconnecting
    await container.rejoin()
    assert joined(server) == ["fleet"]


async def test_a_broken_log_stream_is_opened_again(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    server.responses["attach"] = (200, Truncated())
    await fresh.refresh()
    server.responses["attach"] = (500, {"message": "not now"})

    async def refresh_until_rejected() -> None:
        while True:
            await fresh.refresh()

    with pytest.raises(EngineError, match="not now"):
        await asyncio.wait_for(refresh_until_rejected(), 5)
    server.responses["attach"] = (200, None)
    server.requests.clear()
    await fresh.refresh()
    assert server.has_request("containers/c1/attach")
    assert recorder.of(ONE) == ["started"]


async def test_a_container_that_docker_is_restarting_is_not_running(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    """The engine does not attach to it. Its state is running and restarting. Source: moby, container/state.go."""
    server.responses["attach"] = (409, {"message": "container c1 is restarting, wait until it is running"})
    server.responses["json"] = state(restarting=True, status=1)
    server.responses["logs"] = log_of(b"oh no\n")
    await fresh.refresh()
    assert not fresh.is_running
    assert recorder.of(ONE) == [
        f'{EARLY_EXIT}: its last log line is "oh no"\n  hint: docker logs c1 shows all lines'
    ]
    recorder.reports.clear()
    server.responses["attach"] = (200, None)
    server.responses["json"] = state()
    await fresh.handle_event(event("start"))
    assert recorder.of(ONE) == ["started"]
    server.responses["json"] = state(restarting=True, status=3)
    await fresh.refresh()
    assert recorder.of(ONE) == ["started", Exit(3)]


@pytest.mark.parametrize("name", ["SIGRTMIN+3", "QUIT", "3"])
async def test_a_stop_signal_is_passed_to_the_engine_unchanged(
    engine: Engine, recorder: RecordingObserver, server: FakeEngine, name: str
) -> None:
    container = make_container(engine, recorder, kill_signal=name)
    await container.refresh()
    stopping = asyncio.create_task(container.stop())
    await eventually(lambda: server.has_request("kill"), "the request")
    await container.handle_event(event("die"))
    await stopping
    (request,) = [each for each in server.requests if "/kill" in each]
    assert f"signal={name.replace('+', '%2B')}" in request


async def test_a_missing_program_is_named(
    fresh: MachineContainer, recorder: RecordingObserver, server: FakeEngine
) -> None:
    message = 'OCI runtime create failed: exec: "npm": executable file not found in $PATH'
    server.responses["start"] = (404, {"message": message})
    with pytest.raises(InputError, match='command "npm" not found in image'):
        await fresh.start()


@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_stop_and_kill_return_when_the_engine_reports_the_container_as_stopped(
    container: MachineContainer, recorder: RecordingObserver, server: FakeEngine, verb: str
) -> None:
    """The exit event comes earlier; a start before the state has changed would have no effect."""
    server.responses["wait"] = (200, {"StatusCode": 0})
    server.blocked["wait"] = threading.Event()
    ending = asyncio.create_task(getattr(container, verb)())
    await eventually(lambda: server.has_request("containers/c1/kill"), "the request")
    await container.handle_event(event("die"))
    await eventually(lambda: server.has_request("containers/c1/wait"), "the wait request")
    assert recorder.of(ONE) == [Exit(0)], "the exit is reported at once"
    assert not ending.done()
    server.blocked["wait"].set()
    await asyncio.wait_for(ending, 5)

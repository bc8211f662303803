"""What a container is taken for when the engine refuses, and when its news come late, early or never."""

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
from tests.machines.fake_engine import Broken, SmallEngine, small_engine

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
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallEngine]:
    answers = {"json": state(), "attach": (200, None), "unpause": (500, {"message": "it is not paused"})}
    with small_engine(tmp_path / "engine", answers, (204, None)) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        yield server


@pytest.fixture
async def engine(server: SmallEngine) -> AsyncIterator[Engine]:
    engine = await Engine.connect()
    yield engine
    engine.close()


@pytest.fixture
def recorder() -> RecordingObserver:
    return RecordingObserver()


def make_container(engine: Engine, recorder: RecordingObserver, **of_spec: Any) -> MachineContainer:
    spec = replace(machine_spec(1, ()), is_taken=True, **of_spec)
    return MachineContainer(engine, "c1", spec, Placement("127.0.0.1", 1, "::1"), recorder)


@pytest.fixture
def fresh(engine: Engine, recorder: RecordingObserver) -> MachineContainer:
    """One that was not started."""
    return make_container(engine, recorder)


@pytest.fixture
async def container(engine: Engine, recorder: RecordingObserver) -> MachineContainer:
    """One that runs."""
    container = make_container(engine, recorder)
    await container.refresh()
    assert recorder.of(ONE) == ["began"]
    recorder.told.clear()
    return container


def event(action: str, status: int = 0) -> ContainerEvent:
    return ContainerEvent("c1", action, {"exitCode": str(status)})


async def test_an_end_and_a_new_start_are_both_told_however_close(
    container: MachineContainer, recorder: RecordingObserver
) -> None:
    """The end waits for the last lines of the log; the start must not overtake it, nor be lost."""
    await asyncio.gather(container.handle_event(event("die", 137)), container.handle_event(event("start")))
    assert recorder.of(ONE) == [KILLED, "began"]


async def test_a_start_and_its_end_are_both_told_however_close(
    container: MachineContainer, recorder: RecordingObserver
) -> None:
    await container.handle_event(event("die", 1))
    await asyncio.gather(container.handle_event(event("start")), container.handle_event(event("die", 2)))
    assert recorder.of(ONE) == [Exit(1), "began", Exit(2)]


BRIEF = "machine ams-1 of app chat exited with status 1 as soon as it was started"


def log_of(text: bytes) -> tuple[int, bytes]:
    return 200, bytes([1, 0, 0, 0]) + len(text).to_bytes(4) + text


async def test_runs_that_are_over_before_anybody_looks_are_explained_once(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    """As of one that Docker starts again and again."""
    server.answers["logs"] = log_of(b"no database\n")
    await container.handle_event(event("die", 1))
    server.answers["json"] = state(running=False, status=1)
    for _ in range(3):
        await container.handle_event(event("start"))
        await container.handle_event(event("die", 1))
    assert recorder.of(ONE) == [
        Exit(1),
        f'{BRIEF}: its last line is "no database"; docker logs c1 has them all',
    ]
    server.answers["json"] = state()
    await container.handle_event(event("start"))
    await container.handle_event(event("die", 0))
    server.answers["json"] = state(running=False, status=1)
    server.answers["logs"] = log_of(b"\n")
    await container.handle_event(event("start"))
    assert recorder.of(ONE)[2:] == ["began", Exit(0), f"{BRIEF}: it wrote nothing"]


async def test_a_log_that_is_kept_elsewhere_is_not_told_of(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["logs"] = 501, {"message": "configured logging driver does not support reading"}
    server.answers["json"] = state(running=False, status=1)
    await fresh.handle_event(event("start"))
    assert recorder.of(ONE) == [f"{BRIEF}: the engine does not tell what it wrote"]


async def test_a_run_that_could_not_be_looked_at_is_not_called_brief(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["attach"] = 500, {"message": "not now"}
    with pytest.raises(EngineError, match="not now"):
        await fresh.handle_event(event("start"))
    await fresh.handle_event(event("die", 1))
    assert recorder.of(ONE) == []


async def test_a_run_of_a_container_that_is_gone_already_is_no_matter(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["json"] = 404, {"message": "No such container: c1"}
    await fresh.handle_event(event("start"))
    await fresh.handle_event(event("destroy"))
    assert recorder.of(ONE) == []


async def test_an_end_that_was_found_before_it_was_told_is_no_brief_run(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["json"] = state(running=False, status=1)
    await container.refresh()
    await container.handle_event(event("die", 1))
    assert recorder.of(ONE) == [Exit(1)]


async def test_one_that_is_paused_already_is_taken_as_it_is(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    """The engine lets nobody listen to it until it goes on."""
    server.answers["json"] = state(paused=True)
    server.answers["attach"] = (
        409,
        {"message": "container c1 is paused, unpause the container before attach"},
    )
    await fresh.refresh()
    assert recorder.of(ONE) == ["began", "froze"]

    server.answers |= {"json": state(), "attach": (200, None)}
    await fresh.handle_event(event("unpause"))
    assert recorder.of(ONE)[2:] == ["thawed"]
    assert server.was_asked("attach")


@pytest.mark.parametrize("refusal", [(404, "no such container"), (409, "it is not running")])
async def test_a_kill_that_comes_too_late_finds_the_end(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine, refusal: tuple[int, str]
) -> None:
    """The news of it may never come: flysim would wait for ever."""
    status, words = refusal
    server.answers["kill"] = (status, {"message": words})
    server.answers["json"] = state(running=False, status=3) if status == 409 else (404, {"message": words})
    await asyncio.wait_for(container.kill(), 5)
    assert recorder.of(ONE) == [Exit(3) if status == 409 else KILLED]


async def test_an_end_of_which_no_news_come_is_asked_for(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    killing = asyncio.create_task(container.kill())
    await eventually(lambda: server.was_asked("kill"), "the request")
    server.answers["kill"] = (409, {"message": "it is not running"})
    server.answers["json"] = state(running=False, status=137)
    await asyncio.wait_for(killing, 5)
    assert recorder.of(ONE) == [KILLED]


async def test_a_kill_that_is_refused_is_told(container: MachineContainer, server: SmallEngine) -> None:
    server.answers["kill"] = (500, {"message": "permission denied"})
    with pytest.raises(EngineError, match="permission denied"):
        await container.kill()
    with pytest.raises(EngineError, match="permission denied"):
        await container.stop()


async def test_a_pause_that_is_refused_is_none(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["pause"] = (500, {"message": "the freezer cgroup is not there"})
    with pytest.raises(EngineError, match="the freezer cgroup is not there"):
        await container.suspend()
    server.answers["json"] = state(paused=True)  # So it is somebody else who pauses it now.
    await container.handle_event(event("pause"))
    assert recorder.of(ONE) == ["froze"]


async def test_a_resumption_that_is_refused_is_told(container: MachineContainer, server: SmallEngine) -> None:
    await container.suspend()
    server.answers["json"] = state(paused=True)
    with pytest.raises(EngineError, match="it is not paused"):
        await container.resume()


@pytest.mark.parametrize("is_theirs", [False, True], ids=["resumed by us", "resumed by them"])
async def test_one_that_somebody_has_paused_is_left_so_unless_they_resume_it(
    container: MachineContainer, server: SmallEngine, is_theirs: bool
) -> None:
    server.answers |= {"json": state(paused=True), "unpause": (204, None)}
    await container.handle_event(event("pause"))
    if not is_theirs:
        await container.resume()
    server.answers["json"] = state()
    await container.handle_event(event("unpause"))
    await container.restore()
    assert server.was_asked("containers/c1/pause") is not is_theirs


async def test_a_start_that_is_refused_leaves_nothing_that_runs(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["start"] = (500, {"message": "Bind for 127.0.0.1:1 failed: port is already allocated"})
    with pytest.raises(
        EnvironmentFault, match=r"publishes a port that is taken: Bind for .*\n  hint: .*docker ps"
    ):
        await fresh.start()
    await asyncio.wait_for(fresh.kill(), 5)
    assert recorder.told == []


async def test_a_start_that_is_given_up_leaves_nothing_to_wait_for(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    """What is under way is refused afterwards, and nobody is told."""
    server.answers["start"] = (500, {"message": "no space left on device"})
    starting = asyncio.create_task(fresh.start())
    await eventually(lambda: server.was_asked("start"), "the request")
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await asyncio.wait_for(fresh.kill(), 5)
    assert recorder.endings(ONE) == []


async def test_late_news_of_an_earlier_run_end_no_later_one(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    starting = asyncio.create_task(fresh.start())
    await asyncio.sleep(0)
    await fresh.handle_event(event("die", 137))
    await starting
    await fresh.refresh()
    assert fresh.is_running
    assert recorder.endings(ONE) == []


async def test_a_network_that_does_not_take_a_machine_back_is_named(
    container: MachineContainer, server: SmallEngine
) -> None:
    server.answers["json"] = state(networks=["fleet", "other"])
    assert await container.isolate()
    server.answers["POST /networks/fleet/connect"] = (500, {"message": "no addresses left"})
    for asked in (["fleet", "other"], ["fleet"]):
        server.asked.clear()
        with pytest.raises(
            EnvironmentFault, match=r"fleet: no addresses left\n  hint: docker network connect"
        ):
            await container.rejoin()
        assert joined(server) == asked
    del server.answers["POST /networks/fleet/connect"]
    await container.rejoin()
    assert joined(server) == ["fleet", "fleet"]


def joined(server: SmallEngine) -> list[str]:
    """The networks that it was to be connected to."""
    return [each.split("/")[2] for each in server.asked if each.endswith("/connect")]


async def test_a_cut_that_is_given_up_on_its_way_is_mended_once_it_is_made(
    container: MachineContainer, server: SmallEngine
) -> None:
    """The engine carries out what it was asked, whether or not anybody waits."""
    server.answers["json"] = state(networks=["fleet", "other"])
    server.held["disconnect"] = threading.Event()
    cutting = asyncio.create_task(container.isolate())
    await eventually(lambda: server.was_asked("networks/fleet/disconnect"), "the request")
    cutting.cancel()
    await asyncio.sleep(0)
    server.held["disconnect"].set()
    with pytest.raises(asyncio.CancelledError):
        await cutting
    await container.rejoin()
    assert joined(server) == ["fleet"]


async def test_a_log_that_broke_off_is_listened_to_again(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    server.answers["attach"] = (200, Broken())
    await fresh.refresh()
    server.answers["attach"] = (500, {"message": "not now"})

    async def look_until_refused() -> None:
        while True:
            await fresh.refresh()

    with pytest.raises(EngineError, match="not now"):
        await asyncio.wait_for(look_until_refused(), 5)
    server.answers["attach"] = (200, None)
    server.asked.clear()
    await fresh.refresh()
    assert server.was_asked("containers/c1/attach")
    assert recorder.of(ONE) == ["began"]


async def test_one_that_docker_is_restarting_does_not_run(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    """Meanwhile it lets nobody in, and its state says both. Source: moby, container/state.go."""
    server.answers["attach"] = (409, {"message": "container c1 is restarting, wait until it is running"})
    server.answers["json"] = state(restarting=True, status=1)
    server.answers["logs"] = log_of(b"oh no\n")
    await fresh.refresh()
    assert not fresh.is_running
    assert recorder.of(ONE) == [f'{BRIEF}: its last line is "oh no"; docker logs c1 has them all']
    recorder.told.clear()
    server.answers["attach"] = (200, None)
    server.answers["json"] = state()
    await fresh.handle_event(event("start"))
    assert recorder.of(ONE) == ["began"]
    server.answers["json"] = state(restarting=True, status=3)
    await fresh.refresh()
    assert recorder.of(ONE) == ["began", Exit(3)]


@pytest.mark.parametrize("name", ["SIGRTMIN+3", "QUIT", "3"])
async def test_any_stop_signal_of_an_image_is_the_engines_to_read(
    engine: Engine, recorder: RecordingObserver, server: SmallEngine, name: str
) -> None:
    container = make_container(engine, recorder, kill_signal=name)
    await container.refresh()
    stopping = asyncio.create_task(container.stop())
    await eventually(lambda: server.was_asked("kill"), "the request")
    await container.handle_event(event("die"))
    await stopping
    (asked,) = [each for each in server.asked if "/kill" in each]
    assert f"signal={name.replace('+', '%2B')}" in asked


async def test_no_such_program_is_said_as_such(
    fresh: MachineContainer, recorder: RecordingObserver, server: SmallEngine
) -> None:
    words = 'OCI runtime create failed: exec: "npm": executable file not found in $PATH'
    server.answers["start"] = (404, {"message": words})
    with pytest.raises(InputError, match='there is no command "npm" in image'):
        await fresh.start()


@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_one_that_is_told_to_end_has_ended_once_the_engine_holds_it_for_ended(
    container: MachineContainer, recorder: RecordingObserver, server: SmallEngine, verb: str
) -> None:
    """It tells of the end before: whoever starts the container in between starts nothing."""
    server.answers["wait"] = (200, {"StatusCode": 0})
    server.held["wait"] = threading.Event()
    ending = asyncio.create_task(getattr(container, verb)())
    await eventually(lambda: server.was_asked("containers/c1/kill"), "the request")
    await container.handle_event(event("die"))
    await eventually(lambda: server.was_asked("containers/c1/wait"), "the question")
    assert recorder.of(ONE) == [Exit(0)], "the proxy knows at once"
    assert not ending.done()
    server.held["wait"].set()
    await asyncio.wait_for(ending, 5)

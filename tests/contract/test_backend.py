"""What every backend promises (`simulator.machines.backend`), tried on each of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import pytest

from simulator.errors import InputError
from simulator.machines.backend import Exit, Placement
from simulator.machines.fake import FakeApp
from tests.contract.harness import (
    DockerStage,
    FakeStage,
    ProcessStage,
    Recorder,
    Stage,
    answers,
    becomes_reachable,
    eventually,
    machine_id,
)

ONE, TWO = machine_id(1), machine_id(2)
DNS = "127.0.0.1:5353"


@pytest.fixture(
    params=[FakeStage, ProcessStage, pytest.param(DockerStage, marks=pytest.mark.docker)],
    ids=["fake", "process", "docker"],
)
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    make_stage: Callable[[], Stage] = request.param
    stage = make_stage()
    await stage.backend.watch((), Recorder())
    yield stage
    await stage.backend.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def launch(
    stage: Stage, recorder: Recorder, number: int = 1, app: FakeApp | None = None, **options: float
) -> Placement:
    spec = stage.spec(number, stage.command(app or FakeApp()), **options)
    return await stage.backend.launch(spec, recorder, dns_address=DNS)


async def test_a_launched_machine_answers_where_it_was_placed(stage: Stage, recorder: Recorder) -> None:
    placement = await launch(stage, recorder)

    await becomes_reachable(placement)

    assert placement.address in await stage.backend.listening_addresses(ONE)


async def test_machines_have_different_addresses(stage: Stage, recorder: Recorder) -> None:
    one, two = await launch(stage, recorder, 1), await launch(stage, recorder, 2)

    assert one.address != two.address
    assert one.private_ip != two.private_ip


async def test_log_lines_come_in_order_and_before_the_exit(stage: Stage, recorder: Recorder) -> None:
    lines = tuple(f"line {number}" for number in range(200))

    await launch(stage, recorder, app=FakeApp(lines=lines, exits_with=3))
    await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

    assert recorder.of(ONE) == [*lines, Exit(3)]


async def test_an_exit_is_reported_once_whatever_is_asked_afterwards(
    stage: Stage, recorder: Recorder
) -> None:
    await launch(stage, recorder, app=FakeApp(exits_with=0))
    await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

    await stage.backend.stop(ONE)
    await stage.backend.kill(ONE)

    assert recorder.endings(ONE) == [Exit(0)]


async def test_stop_sends_the_kill_signal_and_returns_when_the_machine_is_gone(
    stage: Stage, recorder: Recorder
) -> None:
    """F-5.37: kill_signal first, SIGINT by default."""
    placement = await launch(stage, recorder, app=FakeApp(lines=("up",)))
    await becomes_reachable(placement)

    await stage.backend.stop(ONE)

    assert [str(ending) for ending in recorder.endings(ONE)] == ["was killed by SIGINT"]
    assert not await answers(placement)


async def test_stop_ends_a_machine_that_ignores_the_kill_signal_after_the_kill_timeout(
    stage: Stage, recorder: Recorder
) -> None:
    """X-12, F-5.37: after kill_timeout the end is unconditional."""
    app = FakeApp(ignores_kill_signal=True)
    await becomes_reachable(await launch(stage, recorder, app=app, kill_timeout_seconds=0.2))
    begun = time.monotonic()

    await stage.backend.stop(ONE)

    assert time.monotonic() - begun >= 0.2
    assert [str(ending) for ending in recorder.endings(ONE)] == ["was killed by SIGKILL"]


async def test_kill_ends_a_machine_at_once(stage: Stage, recorder: Recorder) -> None:
    app = FakeApp(ignores_kill_signal=True)
    placement = await launch(stage, recorder, app=app, kill_timeout_seconds=60)
    await becomes_reachable(placement)

    await stage.backend.kill(ONE)

    assert recorder.endings(ONE) == [Exit(-9)]
    assert not await answers(placement)


async def test_a_suspended_machine_does_not_answer_until_it_is_resumed(
    stage: Stage, recorder: Recorder
) -> None:
    placement = await launch(stage, recorder)
    await becomes_reachable(placement)

    await stage.backend.suspend(ONE)
    answers_while_suspended = await answers(placement)
    await stage.backend.resume(ONE)

    assert not answers_while_suspended
    await becomes_reachable(placement)
    assert recorder.endings(ONE) == []


async def test_a_suspended_machine_can_be_stopped(stage: Stage, recorder: Recorder) -> None:
    await becomes_reachable(await launch(stage, recorder, kill_timeout_seconds=60))
    await stage.backend.suspend(ONE)

    await stage.backend.stop(ONE)

    assert len(recorder.endings(ONE)) == 1


async def test_a_machine_keeps_its_placement_from_launch_to_launch(stage: Stage, recorder: Recorder) -> None:
    first = await launch(stage, recorder)
    await becomes_reachable(first)
    await stage.backend.stop(ONE)

    second = await launch(stage, recorder)

    assert second == first
    await becomes_reachable(second)


async def test_a_released_machine_can_be_launched_again(stage: Stage, recorder: Recorder) -> None:
    await launch(stage, recorder)
    await stage.backend.kill(ONE)
    await stage.backend.release(ONE)

    await becomes_reachable(await launch(stage, recorder))


async def test_what_is_asked_of_a_machine_that_was_never_launched_is_not_done(stage: Stage) -> None:
    for ask in (
        stage.backend.stop,
        stage.backend.kill,
        stage.backend.suspend,
        stage.backend.resume,
        stage.backend.release,
    ):
        await ask(ONE)

    assert await stage.backend.listening_addresses(ONE) == ()


async def test_a_machine_that_listens_itself_has_no_impostor(stage: Stage, recorder: Recorder) -> None:
    placement = await launch(stage, recorder)
    await becomes_reachable(placement)

    assert await stage.backend.find_impostor(ONE, placement.port) is None


async def test_close_ends_every_machine_and_reports_it(stage: Stage, recorder: Recorder) -> None:
    placements = [await launch(stage, recorder, number) for number in (1, 2)]
    for placement in placements:
        await becomes_reachable(placement)

    await stage.backend.close()

    assert recorder.endings(ONE) == recorder.endings(TWO) == [Exit(-9)]
    for placement in placements:
        assert not await answers(placement)


async def test_a_command_that_does_not_exist_is_named(stage: Stage, recorder: Recorder) -> None:
    spec = stage.spec(1, ("no-such-program", "{port}"))

    with pytest.raises(InputError, match=r'ams-1 of app chat.*"no-such-program"'):
        await stage.backend.launch(spec, recorder, dns_address=DNS)

    await stage.backend.stop(ONE)
    assert recorder.told == []


async def test_an_isolated_machine_answers_again_once_it_has_rejoined(
    stage: Stage, recorder: Recorder
) -> None:
    placement = await launch(stage, recorder)
    await becomes_reachable(placement)

    is_isolated = await stage.backend.isolate(ONE)
    answers_while_isolated = await answers(placement)
    await stage.backend.rejoin(ONE)

    assert answers_while_isolated is not is_isolated
    await becomes_reachable(placement)


async def test_what_does_not_run_is_neither_isolated_nor_rejoined(stage: Stage) -> None:
    assert not await stage.backend.isolate(ONE)
    await stage.backend.rejoin(ONE)

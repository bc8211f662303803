"""Contract of machine backends (`simulator.machines.backend`), tested on each of them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable

import pytest

from simulator.errors import InputError
from simulator.machines.backend import Exit, Placement
from simulator.machines.fake import FakeApp
from tests.contract.harness import (
    DockerHarness,
    FakeHarness,
    Harness,
    ProcessHarness,
    Recorder,
    answers,
    becomes_reachable,
    eventually,
    machine_id,
)

ONE, TWO = machine_id(1), machine_id(2)
DNS = "127.0.0.1:5353"


@pytest.fixture(
    params=[FakeHarness, ProcessHarness, pytest.param(DockerHarness, marks=pytest.mark.docker)],
    ids=["fake", "process", "docker"],
)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    make_harness: Callable[[], Harness] = request.param
    harness = make_harness()
    await harness.backend.watch((), Recorder())
    yield harness
    await harness.backend.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def launch(
    harness: Harness, recorder: Recorder, number: int = 1, app: FakeApp | None = None, **options: float
) -> Placement:
    spec = harness.spec(number, harness.command(app or FakeApp()), **options)
    return await harness.backend.launch(spec, recorder, dns_address=DNS)


async def test_a_launched_machine_responds_at_its_placement(harness: Harness, recorder: Recorder) -> None:
    placement = await launch(harness, recorder)

    await becomes_reachable(placement)

    assert placement.address in await harness.backend.listening_addresses(ONE)


async def test_machines_have_different_addresses(harness: Harness, recorder: Recorder) -> None:
    one, two = await launch(harness, recorder, 1), await launch(harness, recorder, 2)

    assert one.address != two.address
    assert one.private_ip != two.private_ip


async def test_log_lines_come_in_order_and_before_the_exit(harness: Harness, recorder: Recorder) -> None:
    lines = tuple(f"line {number}" for number in range(200))

    await launch(harness, recorder, app=FakeApp(lines=lines, exits_with=3))
    await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

    assert recorder.of(ONE) == [*lines, Exit(3)]


async def test_an_exit_is_reported_only_once(harness: Harness, recorder: Recorder) -> None:
    await launch(harness, recorder, app=FakeApp(exits_with=0))
    await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

    await harness.backend.stop(ONE)
    await harness.backend.kill(ONE)

    assert recorder.endings(ONE) == [Exit(0)]


async def test_stop_sends_the_kill_signal_and_returns_once_the_machine_has_exited(
    harness: Harness, recorder: Recorder
) -> None:
    """F-5.37: kill_signal first, SIGINT by default."""
    placement = await launch(harness, recorder, app=FakeApp(lines=("up",)))
    await becomes_reachable(placement)

    await harness.backend.stop(ONE)

    assert [str(each) for each in recorder.endings(ONE)] == ["was killed by SIGINT"]
    assert not await answers(placement)


async def test_stop_kills_a_machine_that_ignores_the_kill_signal_after_the_kill_timeout(
    harness: Harness, recorder: Recorder
) -> None:
    """X-12, F-5.37: after kill_timeout the machine is killed."""
    app = FakeApp(ignores_kill_signal=True)
    await becomes_reachable(await launch(harness, recorder, app=app, kill_timeout_seconds=0.2))
    begun = time.monotonic()

    await harness.backend.stop(ONE)

    assert time.monotonic() - begun >= 0.2
    assert [str(each) for each in recorder.endings(ONE)] == ["was killed by SIGKILL"]


async def test_kill_ends_a_machine_at_once(harness: Harness, recorder: Recorder) -> None:
    app = FakeApp(ignores_kill_signal=True)
    placement = await launch(harness, recorder, app=app, kill_timeout_seconds=60)
    await becomes_reachable(placement)

    await harness.backend.kill(ONE)

    assert recorder.endings(ONE) == [Exit(-9)]
    assert not await answers(placement)


async def test_a_suspended_machine_does_not_respond_until_it_is_resumed(
    harness: Harness, recorder: Recorder
) -> None:
    placement = await launch(harness, recorder)
    await becomes_reachable(placement)

    await harness.backend.suspend(ONE)
    answers_while_suspended = await answers(placement)
    await harness.backend.resume(ONE)

    assert not answers_while_suspended
    await becomes_reachable(placement)
    assert recorder.endings(ONE) == []


async def test_a_suspended_machine_can_be_stopped(harness: Harness, recorder: Recorder) -> None:
    await becomes_reachable(await launch(harness, recorder, kill_timeout_seconds=60))
    await harness.backend.suspend(ONE)

    await harness.backend.stop(ONE)

    assert len(recorder.endings(ONE)) == 1


async def test_a_machine_has_the_same_placement_in_every_launch(harness: Harness, recorder: Recorder) -> None:
    first = await launch(harness, recorder)
    await becomes_reachable(first)
    await harness.backend.stop(ONE)

    second = await launch(harness, recorder)

    assert second == first
    await becomes_reachable(second)


async def test_a_released_machine_can_be_launched_again(harness: Harness, recorder: Recorder) -> None:
    await launch(harness, recorder)
    await harness.backend.kill(ONE)
    await harness.backend.release(ONE)

    await becomes_reachable(await launch(harness, recorder))


async def test_actions_on_a_machine_that_was_never_launched_do_nothing(harness: Harness) -> None:
    for act in (
        harness.backend.stop,
        harness.backend.kill,
        harness.backend.suspend,
        harness.backend.resume,
        harness.backend.release,
    ):
        await act(ONE)

    assert await harness.backend.listening_addresses(ONE) == ()


async def test_a_machine_that_listens_has_no_port_conflict(harness: Harness, recorder: Recorder) -> None:
    placement = await launch(harness, recorder)
    await becomes_reachable(placement)

    assert await harness.backend.find_port_conflict(ONE, placement.port) is None


async def test_close_kills_every_machine_and_reports_its_exit(harness: Harness, recorder: Recorder) -> None:
    placements = [await launch(harness, recorder, number) for number in (1, 2)]
    for placement in placements:
        await becomes_reachable(placement)

    await harness.backend.close()

    assert recorder.endings(ONE) == recorder.endings(TWO) == [Exit(-9)]
    for placement in placements:
        assert not await answers(placement)


async def test_a_command_that_does_not_exist_is_named(harness: Harness, recorder: Recorder) -> None:
    spec = harness.spec(1, ("no-such-program", "{port}"))

    with pytest.raises(InputError, match=r'ams-1 of app chat.*"no-such-program"'):
        await harness.backend.launch(spec, recorder, dns_address=DNS)

    await harness.backend.stop(ONE)
    assert recorder.told == []


async def test_an_isolated_machine_responds_again_once_it_has_rejoined(
    harness: Harness, recorder: Recorder
) -> None:
    placement = await launch(harness, recorder)
    await becomes_reachable(placement)

    is_isolated = await harness.backend.isolate(ONE)
    answers_while_isolated = await answers(placement)
    await harness.backend.rejoin(ONE)

    assert answers_while_isolated is not is_isolated
    await becomes_reachable(placement)


async def test_a_machine_that_does_not_run_is_neither_isolated_nor_rejoined(harness: Harness) -> None:
    assert not await harness.backend.isolate(ONE)
    await harness.backend.rejoin(ONE)

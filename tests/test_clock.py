from __future__ import annotations

import asyncio
import time

import pytest

from simulator.clock import Clock


def test_the_clock_runs_with_the_real_one() -> None:
    before = time.time()
    assert before <= Clock().now() <= time.time()


def test_it_can_be_put_forward_again_and_again() -> None:
    clock = Clock()
    clock.advance(3600)
    clock.advance(0.5)
    assert clock.now() - time.time() == pytest.approx(3600.5, abs=1.0)


def test_it_never_goes_back() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="only goes forward: -1 s"):
        clock.advance(-1)
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_a_reset_brings_back_the_real_time() -> None:
    clock = Clock()
    clock.advance(3600)
    clock.reset()
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_in_real_time_a_pause_is_really_waited_for() -> None:
    clock = Clock(realtime=True)
    assert clock.pause_seconds(7.5) == 7.5
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_without_real_time_a_pause_only_puts_the_clock_forward() -> None:
    clock = Clock(realtime=False)
    assert clock.pause_seconds(7.5) == 0.0
    assert clock.now() - time.time() == pytest.approx(7.5, abs=1.0)


async def test_a_sleep_of_an_hour_is_over_at_once_where_waits_are_skipped() -> None:
    clock = Clock(realtime=False)
    async with asyncio.timeout(5):
        await clock.sleep(3600)
    assert clock.now() - time.time() == pytest.approx(3600, abs=5.0)


async def test_in_real_time_a_sleep_lasts() -> None:
    clock = Clock()
    before = time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - before >= 0.009


@pytest.mark.parametrize("realtime", [True, False])
async def test_what_elapses_is_never_skipped_but_ends_when_the_clock_is_put_forward(realtime: bool) -> None:
    clock = Clock(realtime=realtime)
    waiting = asyncio.create_task(clock.elapse(3600))
    before = time.monotonic()
    await asyncio.sleep(0)
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)
    clock.advance(1800)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(1800)
    await waiting
    assert time.monotonic() - before < 5

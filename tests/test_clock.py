"""The simulated clock: advancing, skipped waits, and waits in simulated time."""

from __future__ import annotations

import asyncio
import time

import pytest

from simulator.clock import Clock


def test_the_clock_runs_with_the_real_one() -> None:
    before = time.time()
    assert before <= Clock().now() <= time.time()


def test_it_can_be_advanced_repeatedly() -> None:
    clock = Clock()
    clock.advance(3600)
    clock.advance(0.5)
    assert clock.now() - time.time() == pytest.approx(3600.5, abs=1.0)


def test_it_never_goes_back() -> None:
    clock = Clock()
    with pytest.raises(ValueError, match="cannot advance the clock by -1 s"):
        clock.advance(-1)
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_a_reset_restores_the_real_time() -> None:
    clock = Clock()
    clock.advance(3600)
    clock.reset()
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_in_real_time_a_pause_takes_real_time() -> None:
    clock = Clock(realtime=True)
    assert clock.pause_seconds(7.5) == 7.5
    assert clock.now() - time.time() == pytest.approx(0.0, abs=1.0)


def test_without_real_time_a_pause_only_advances_the_clock() -> None:
    clock = Clock(realtime=False)
    assert clock.pause_seconds(7.5) == 0.0
    assert clock.now() - time.time() == pytest.approx(7.5, abs=1.0)


async def test_a_sleep_returns_at_once_where_waits_are_skipped() -> None:
    clock = Clock(realtime=False)
    async with asyncio.timeout(5):
        await clock.sleep(3600)
    assert clock.now() - time.time() == pytest.approx(3600, abs=5.0)


async def test_in_real_time_a_sleep_takes_real_time() -> None:
    clock = Clock()
    before = time.monotonic()
    await clock.sleep(0.01)
    assert time.monotonic() - before >= 0.009


@pytest.mark.parametrize("realtime", [True, False])
async def test_elapse_is_never_skipped_but_ends_when_the_clock_is_advanced(realtime: bool) -> None:
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

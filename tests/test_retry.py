"""The retry policies: when they call again, when they stop, and what they raise."""

from __future__ import annotations

import errno
import time

import pytest

from simulator.retry import poll, poll_blocking, retry_on, retry_on_blocking


class Flaky:
    """Fails `failures` times, then returns a result."""

    def __init__(self, failures: int, error: BaseException | None = None) -> None:
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self) -> str | None:
        self.calls += 1
        if self.calls > self._failures:
            return "found"
        if self._error:
            raise self._error
        return None

    async def later(self) -> str | None:
        return self()


class Pauses:
    """Replaces `asyncio.sleep`, and records the pauses."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_a_call_is_retried_only_after_a_named_error() -> None:
    pauses, refused = Pauses(), Flaky(2, ConnectionRefusedError())
    policy = retry_on(OSError, interval_seconds=0.5, sleep=pauses.sleep)
    assert await policy(refused.later) == "found"
    assert pauses.seconds == [0.5, 0.5]
    with pytest.raises(ValueError, match="another"):
        await retry_on(OSError, interval_seconds=0.5, sleep=pauses.sleep)(
            Flaky(1, ValueError("another")).later
        )


async def test_the_last_error_is_raised_when_the_attempts_are_used_up() -> None:
    refused = Flaky(9, OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        await retry_on(OSError, interval_seconds=0, attempts=3)(refused.later)
    assert refused.calls == 3


@pytest.mark.parametrize("attempts", [None, 1000])
async def test_the_last_error_is_raised_after_the_timeout(attempts: int | None) -> None:
    policy = retry_on(OSError, interval_seconds=0.001, timeout_seconds=0.02, attempts=attempts)
    with pytest.raises(OSError, match="refused"):
        await policy(Flaky(10**6, OSError("refused")).later)


async def test_pauses_double_up_to_the_maximum() -> None:
    pauses = Pauses()
    policy = retry_on(OSError, interval_seconds=0.1, max_interval_seconds=0.4, sleep=pauses.sleep)
    await policy(Flaky(5, OSError()).later)
    assert pauses.seconds == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])


async def test_polling_returns_the_result() -> None:
    assert await poll(Flaky(3), timeout_seconds=5, interval_seconds=0) == "found"
    assert await poll(Flaky(3).later, interval_seconds=0) == "found"
    assert poll_blocking(Flaky(3), timeout_seconds=5, interval_seconds=0) == "found"


async def test_polling_makes_a_last_attempt_at_the_timeout() -> None:
    began, nothing = time.monotonic(), Flaky(10**6)
    assert await poll(nothing, timeout_seconds=0.05, interval_seconds=10) is None
    assert nothing.calls == 2
    assert time.monotonic() - began >= 0.05
    assert poll_blocking(Flaky(10**6), timeout_seconds=0.01) is None


async def test_polling_with_a_zero_timeout_makes_one_attempt() -> None:
    nothing = Flaky(10**6)
    assert await poll(nothing, timeout_seconds=0) is None
    assert nothing.calls == 1


async def test_pauses_grow_by_the_given_factor() -> None:
    pauses = Pauses()
    policy = retry_on(OSError, interval_seconds=0.1, max_interval_seconds=0.2, factor=1.5, sleep=pauses.sleep)
    await policy(Flaky(4, OSError()).later)
    assert pauses.seconds == pytest.approx([0.1, 0.15, 0.2, 0.2])


async def test_an_error_that_does_not_meet_the_condition_is_raised_at_once() -> None:
    policy = retry_on(OSError, interval_seconds=0, only_if=lambda error: error.errno == errno.EAGAIN)
    assert await policy(Flaky(2, OSError(errno.EAGAIN, "try again")).later) == "found"
    broken = Flaky(2, OSError(errno.EPIPE, "broken pipe"))
    with pytest.raises(OSError, match="broken pipe"):
        await policy(broken.later)
    assert broken.calls == 1


async def test_the_last_attempt_of_a_retry_is_at_the_timeout() -> None:
    began, refused = time.monotonic(), Flaky(10**6, OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        await retry_on(OSError, interval_seconds=10, timeout_seconds=0.05)(refused.later)
    assert refused.calls == 2
    assert 0.05 <= time.monotonic() - began < 5


async def test_a_polling_interval_may_change_between_attempts() -> None:
    pauses, intervals = Pauses(), iter([0.1, 0.2, 0.4])
    await poll(Flaky(3), interval_seconds=lambda: next(intervals), sleep=pauses.sleep)
    assert pauses.seconds == [0.1, 0.2, 0.4]


def test_a_blocking_retry_calls_again_without_a_pause_and_raises_the_last_error() -> None:
    began = time.monotonic()
    assert retry_on_blocking(OSError, attempts=100)(Flaky(99, OSError("in use"))) == "found"
    with pytest.raises(OSError, match="in use"):
        retry_on_blocking(OSError, attempts=2)(Flaky(2, OSError("in use")))
    assert time.monotonic() - began < 1

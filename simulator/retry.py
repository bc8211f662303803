"""Retry policies, on tenacity: every wait and retry outside the emulated proxy goes through here.

The emulated proxy's own retries are rules of Fly: they are in `simulator.routing`, on the simulated clock. Whatever
else may use simulated time passes `sleep=clock.sleep`. Times are in seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    stop_never,
    wait_exponential,
    wait_fixed,
)
from tenacity.stop import stop_base
from tenacity.wait import wait_base

__all__ = ["poll", "poll_blocking", "retry_on"]

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
FAST_POLL_SECONDS = 0.01


def retry_on(
    *errors: type[BaseException],
    interval_seconds: float,
    max_interval_seconds: float | None = None,
    timeout_seconds: float | None = None,
    attempts: int | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncRetrying:
    """Call again after one of `errors`, until the call succeeds, the time is over or the attempts are used up.

    The pause is `interval_seconds`; it doubles up to `max_interval_seconds` where that is given. With neither a
    timeout nor a number of attempts it never gives up. When it gives up, the last error is raised.

        await retry_on(OSError, interval_seconds=0.1, timeout_seconds=5)(connect, host, port)
    """
    stop: stop_base = stop_never
    if timeout_seconds is not None:
        stop = stop_after_delay(timeout_seconds)
    if attempts is not None:
        stop = (
            stop | stop_after_attempt(attempts)
            if timeout_seconds is not None
            else stop_after_attempt(attempts)
        )
    pause: wait_base = wait_fixed(interval_seconds)
    if max_interval_seconds is not None:
        pause = wait_exponential(multiplier=interval_seconds, max=max_interval_seconds)
    return AsyncRetrying(
        retry=retry_if_exception_type(errors), wait=pause, stop=stop, sleep=sleep, reraise=True
    )


async def poll(
    find: Callable[[], T | None] | Callable[[], Awaitable[T | None]],
    *,
    timeout_seconds: float | None = None,
    interval_seconds: float = FAST_POLL_SECONDS,
    sleep: Sleep = asyncio.sleep,
) -> T | None:
    """The first result of `find` that is not None, or None when the time is over; without a timeout it never ends.

    `find` is called at once, and a last time when the time is over. For a condition: return True or None.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    policy: AsyncRetrying = AsyncRetrying(
        retry=retry_if_result(_is_none),
        wait=_wait_until_deadline(interval_seconds, deadline),
        stop=_stop_at(deadline),
        sleep=sleep,
        retry_error_callback=_last_result,
    )
    result: T | None = await policy(find)  # type: ignore[type-var]
    return result


def poll_blocking(
    find: Callable[[], T | None], *, timeout_seconds: float, interval_seconds: float = FAST_POLL_SECONDS
) -> T | None:
    """As `poll`, for a thread of its own or a command without an event loop."""
    deadline = time.monotonic() + timeout_seconds
    policy = Retrying(
        retry=retry_if_result(_is_none),
        wait=_wait_until_deadline(interval_seconds, deadline),
        stop=_stop_at(deadline),
        retry_error_callback=_last_result,
    )
    return policy(find)


def _is_none(result: object) -> bool:
    return result is None


def _last_result(state: RetryCallState) -> Any:
    assert state.outcome is not None, "tenacity calls this after an attempt"
    return state.outcome.result()


def _stop_at(deadline: float | None) -> Callable[[RetryCallState], bool]:
    return lambda state: deadline is not None and time.monotonic() >= deadline


def _wait_until_deadline(
    interval_seconds: float, deadline: float | None
) -> Callable[[RetryCallState], float]:
    """The interval, cut so that the last attempt is at the deadline."""

    def wait(state: RetryCallState) -> float:
        left = interval_seconds if deadline is None else deadline - time.monotonic()
        return max(0.0, min(interval_seconds, left))

    return wait

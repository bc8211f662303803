"""Retry and polling policies, built on tenacity, for every wait and retry outside the emulated proxy.

The emulated proxy's own retries follow Fly's rules: they are in `simulator.routing`, on the simulated clock. A caller
that waits in simulated time passes `sleep=clock.sleep`. Times are in seconds. Importing tenacity takes about 15 ms, so
modules that `flysim --help` loads import this module inside the function that needs it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast, overload

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    stop_any,
    stop_never,
    wait_exponential,
    wait_fixed,
    wait_none,
)
from tenacity.retry import retry_base
from tenacity.stop import stop_base
from tenacity.wait import wait_base

__all__ = ["poll", "poll_blocking", "retry_on", "retry_on_blocking"]

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)
Sleep = Callable[[float], Awaitable[None]]
Interval = float | Callable[[], float]
"""Seconds between two attempts, or a function that returns them before each pause."""
FAST_POLL_SECONDS = 0.01


def retry_on(
    *errors: type[E],
    interval_seconds: float,
    max_interval_seconds: float | None = None,
    factor: float = 2.0,
    timeout_seconds: float | None = None,
    attempts: int | None = None,
    only_if: Callable[[E], bool] | None = None,
    sleep: Sleep = asyncio.sleep,
) -> AsyncRetrying:
    """Call again after one of `errors`, until the call succeeds, the timeout expires or the attempts are used up.

    The pause is `interval_seconds`; it grows by `factor` up to `max_interval_seconds` where that is given. The last
    attempt is at the timeout. Without a timeout or a number of attempts it never gives up. When it gives up, it
    raises the last error. An error for which `only_if` is false is raised at once.

        await retry_on(OSError, interval_seconds=0.1, timeout_seconds=5)(connect, host, port)
    """
    is_retryable: retry_base = retry_if_exception_type(errors)
    if only_if is not None:
        is_retryable = is_retryable & retry_if_exception(cast("Callable[[BaseException], bool]", only_if))
    pause: wait_base = wait_fixed(interval_seconds)
    if max_interval_seconds is not None:
        pause = wait_exponential(multiplier=interval_seconds, exp_base=factor, max=max_interval_seconds)
    return AsyncRetrying(
        retry=is_retryable,
        wait=_cut_at_timeout(pause, timeout_seconds),
        stop=_stop_after(timeout_seconds, attempts),
        sleep=sleep,
        reraise=True,
    )


def retry_on_blocking(*errors: type[BaseException], attempts: int) -> Retrying:
    """Like `retry_on`, for code without an event loop: calls again at once, `attempts` times in all."""
    return Retrying(
        retry=retry_if_exception_type(errors),
        wait=wait_none(),
        stop=stop_after_attempt(attempts),
        sleep=_no_sleep,
        reraise=True,
    )


@overload
async def poll(
    find: Callable[[], Awaitable[T | None]],
    *,
    timeout_seconds: float | None = None,
    interval_seconds: Interval = FAST_POLL_SECONDS,
    sleep: Sleep = asyncio.sleep,
) -> T | None: ...
@overload
async def poll(
    find: Callable[[], T | None],
    *,
    timeout_seconds: float | None = None,
    interval_seconds: Interval = FAST_POLL_SECONDS,
    sleep: Sleep = asyncio.sleep,
) -> T | None: ...
async def poll(
    find: Callable[[], Any],
    *,
    timeout_seconds: float | None = None,
    interval_seconds: Interval = FAST_POLL_SECONDS,
    sleep: Sleep = asyncio.sleep,
) -> Any:
    """The first result of `find` that is not None, or None after the timeout; without a timeout it never gives up.

    `find` is a function or a coroutine function. It is called at once, and a last time at the timeout. For a
    condition: return True or None.
    """
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    policy: AsyncRetrying = AsyncRetrying(
        retry=retry_if_result(_is_none),
        wait=_wait_until_deadline(interval_seconds, deadline),
        stop=_stop_at(deadline),
        sleep=sleep,
        retry_error_callback=_last_result,
    )
    return await policy(find)


def poll_blocking(
    find: Callable[[], T | None], *, timeout_seconds: float, interval_seconds: Interval = FAST_POLL_SECONDS
) -> T | None:
    """Like `poll`, for a separate thread or a command without an event loop."""
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


def _wait_until_deadline(interval: Interval, deadline: float | None) -> Callable[[RetryCallState], float]:
    """The interval, cut so that the last attempt is at the deadline."""

    def wait(state: RetryCallState) -> float:
        seconds = interval() if callable(interval) else interval
        left = seconds if deadline is None else deadline - time.monotonic()
        return max(0.0, min(seconds, left))

    return wait


def _stop_after(timeout_seconds: float | None, attempts: int | None) -> stop_base:
    stop: stop_base = stop_never if timeout_seconds is None else stop_after_delay(timeout_seconds)
    return stop if attempts is None else stop_any(stop, stop_after_attempt(attempts))


def _cut_at_timeout(pause: wait_base, timeout_seconds: float | None) -> Callable[[RetryCallState], float]:
    def wait(state: RetryCallState) -> float:
        if timeout_seconds is None:
            return pause(state)
        left = timeout_seconds - (state.seconds_since_start or 0.0)
        return max(0.0, min(pause(state), left))

    return wait


def _no_sleep(seconds: float) -> None:
    """Do not pause between attempts: waiting would not free a port or name that is in use."""

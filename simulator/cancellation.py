"""Cancellation helpers for asyncio: work that runs to its end, or is abandoned, when its caller is canceled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import TypeVar

T = TypeVar("T")


async def cancel_and_wait(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended; its result or error is ignored."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def shielded(work: Awaitable[T]) -> T:
    """Run `work` to its end even if the caller is canceled: asyncio leaks a listener whose start is canceled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            # Unlike `gather`, it does not cancel the task when it is canceled itself.
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # Retrieve it: a canceled caller does not, and asyncio would log it.


async def run_abandonable(work: Callable[..., T], *args: object) -> T:
    """Run blocking work in a daemon thread, and abandon the thread if the caller is canceled.

    For work that may block for minutes and has no effect to undo. Not `anyio.to_thread`: its threads are not daemons,
    so that Python would wait for an abandoned one before it exits.
    """
    future: Future[T] = Future()
    threading.Thread(target=set_outcome, args=(future, partial(work, *args)), daemon=True).start()
    return await asyncio.wrap_future(future)


def set_outcome(future: Future[T], work: Callable[[], T]) -> None:
    """Run `work`, and set its result or error on `future`."""
    try:
        result = work()
    except Exception as error:
        with suppress(InvalidStateError):  # The caller was canceled.
            future.set_exception(error)
    else:
        with suppress(InvalidStateError):
            future.set_result(result)

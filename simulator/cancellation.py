"""How parts are started and left so that none is lost when it is cancelled in the middle."""

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
    """Take a task that may have been left behind to its end, whatever that is."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def shielded(work: Awaitable[T]) -> T:
    """Carry it out to the end, also when we are cancelled: asyncio loses a listener that is cancelled at birth."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait(
                [task]
            )  # Unlike `gather`, it leaves the task alone when it is cancelled itself.
        if not task.cancelled():
            task.exception()  # Who has been cancelled is not told of it, nor is anybody else.


async def run_abandonable(work: Callable[..., T], *args: object) -> T:
    """In a thread, for what may block for minutes and leaves nothing behind: given up together with whoever asked."""
    answer: Future[T] = Future()
    threading.Thread(target=set_outcome, args=(answer, partial(work, *args)), daemon=True).start()
    return await asyncio.wrap_future(answer)


def set_outcome(answer: Future[T], work: Callable[[], T]) -> None:
    """Do it, and put what comes of it into `answer`, an error too."""
    try:
        result = work()
    except Exception as error:
        with suppress(InvalidStateError):  # nobody wants it any more
            answer.set_exception(error)
    else:
        with suppress(InvalidStateError):
            answer.set_result(result)

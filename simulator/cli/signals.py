"""What Ctrl-C and its kin do to a fleet, from the first moment of its start to the last of its end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

from simulator.cli import leave_at_once

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Answers stop signals within its `with` block, in the running event loop.

    At first a signal gives the current task up, by cancelling it; after `ask_politely` it ends `wait` instead.
    The next one gives the task up in any case, and one more ends flysim at once.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.is_hung_up = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._last: signal.Signals | None = None
        self._asked = asyncio.Event()
        self._answer: Callable[[signal.Signals], None] = self._give_up

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            # nohup has us ignore the end of the terminal. A shell has its background jobs ignore Ctrl-C, but
            # then the script that started us ends by it, and we must not stay behind.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._hear, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._let_go()

    @property
    def exit_status(self) -> int:
        """As a shell has it: 128 and the number of the signal that came last; 0 where none came."""
        return 0 if self._last is None else 128 + self._last

    def ask_politely(self) -> None:
        """From now on a signal lets `wait` return."""
        self._answer = self._ask

    def pass_on(self, take: Callable[[signal.Signals], None]) -> None:
        """From now on every signal is for `take`."""
        self._answer = take

    def insist(self) -> None:
        """From now on a signal gives the task up, as at first."""
        self._answer = self._give_up

    async def wait(self) -> None:
        await self._asked.wait()

    def hang_up(self) -> None:
        """As if a signal had come: nobody reads our output any more."""
        self.is_hung_up = True
        self._hear(signal.SIGPIPE)

    def _hear(self, number: signal.Signals) -> None:
        self._last = number
        self._answer(number)

    def _ask(self, number: signal.Signals) -> None:
        self._asked.set()
        self.insist()

    def _give_up(self, number: signal.Signals) -> None:
        self._task.cancel()
        self._let_go()

    def _let_go(self) -> None:
        """From now on a signal ends flysim at once: raised as an exception, it could leave a traceback anywhere."""
        for number in STOP_SIGNALS:
            if self._loop.remove_signal_handler(number):
                signal.signal(number, leave_at_once)

"""Stop signals: what SIGINT, SIGTERM and SIGHUP do while a fleet starts, runs and stops."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Self

from simulator.cli import exit_on_signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Handles stop signals within its `with` block, in the running event loop.

    A signal cancels the current task. After `stop_gracefully` the first signal makes `wait` return instead, and the
    second cancels the task. After a cancellation the next signal exits immediately.
    """

    def __init__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.is_pipe_broken = False
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._last: signal.Signals | None = None
        self._stop_requested = asyncio.Event()
        self._handler: Callable[[signal.Signals], None] = self._cancel

    def __enter__(self) -> Self:
        for number in STOP_SIGNALS:
            # SIGHUP stays ignored under nohup. SIGINT does not: a shell ignores it in background jobs, but the script
            # that started flysim ends on Ctrl-C, and flysim must end with it.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._loop.add_signal_handler(number, self._receive, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit_on_next_signal()

    @property
    def exit_status(self) -> int:
        """128 plus the number of the last signal; 0 without a signal."""
        return 0 if self._last is None else 128 + self._last

    def stop_gracefully(self) -> None:
        """From now on a signal makes `wait` return."""
        self._handler = self._request_stop

    def forward_to(self, handler: Callable[[signal.Signals], None]) -> None:
        """From now on `handler` gets every signal."""
        self._handler = handler

    def cancel_on_signal(self) -> None:
        """From now on a signal cancels the task, as initially."""
        self._handler = self._cancel

    async def wait(self) -> None:
        await self._stop_requested.wait()

    def break_pipe(self) -> None:
        """Act as on SIGPIPE: the reader of our output has closed it."""
        self.is_pipe_broken = True
        self._receive(signal.SIGPIPE)

    def _receive(self, number: signal.Signals) -> None:
        self._last = number
        self._handler(number)

    def _request_stop(self, number: signal.Signals) -> None:
        self._stop_requested.set()
        self.cancel_on_signal()

    def _cancel(self, number: signal.Signals) -> None:
        self._task.cancel()
        self._exit_on_next_signal()

    def _exit_on_next_signal(self) -> None:
        """From now on a signal exits immediately. A KeyboardInterrupt could end in a traceback."""
        for number in STOP_SIGNALS:
            if self._loop.remove_signal_handler(number):
                signal.signal(number, exit_on_signal)

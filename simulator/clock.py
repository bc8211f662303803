"""The simulated clock: it runs with the real one, and can be put forward.

Everything that the emulated proxy waits for (an error delay, a back-off) is waited for on this clock, so
that a scenario can skip it. Times are seconds since the Unix epoch.
"""

from __future__ import annotations

import asyncio
import time

_TICK_SECONDS = 0.2
"""How late it may be noticed that the clock was put forward."""


class Clock:
    """Simulated time in seconds since the Unix epoch.

    With `realtime`, `pause_seconds` answers how long really to wait; without it, simulated waits are
    skipped: the clock is put forward by them and nothing waits.
    """

    def __init__(self, *, realtime: bool = True) -> None:
        self.realtime = realtime
        self._offset_seconds = 0.0

    def now(self) -> float:
        return time.time() + self._offset_seconds

    def advance(self, seconds: float) -> None:
        """Put the clock forward. Raises ValueError for a negative number of seconds."""
        if seconds < 0:
            raise ValueError(f"the clock only goes forward: {seconds} s")
        self._offset_seconds += seconds

    def reset(self) -> None:
        """Back to the real time."""
        self._offset_seconds = 0.0

    def pause_seconds(self, seconds: float) -> float:
        """How long really to wait for `seconds` of simulated time; puts the clock forward where waits are skipped."""
        if self.realtime:
            return seconds
        self.advance(seconds)
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.pause_seconds(seconds))

    async def elapse(self, seconds: float) -> None:
        """Until so much time has passed, by itself or because the clock was put forward; it is never skipped.

        For what is real and takes its time. Where the clock is set back meanwhile, it is no longer than from then.
        """
        until = self.now() + seconds
        while (left := until - self.now()) > 0:
            if left > seconds:
                until = self.now() + seconds
            await asyncio.sleep(min(left, _TICK_SECONDS))

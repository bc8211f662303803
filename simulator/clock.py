"""Simulated clock: it runs at the speed of the real clock, and can be advanced.

The emulated proxy waits on this clock (error delays, backoff), so that a scenario can skip the wait. Times are seconds
since the Unix epoch.
"""

from __future__ import annotations

import asyncio
import time

_TICK_SECONDS = 0.2
"""The longest delay until `elapse` notices that the clock was advanced."""


class Clock:
    """Simulated time in seconds since the Unix epoch.

    With `realtime`, a simulated wait takes real time. Without it, waits are skipped: they only advance the clock.
    """

    def __init__(self, *, realtime: bool = True) -> None:
        self.realtime = realtime
        self._offset_seconds = 0.0

    def now(self) -> float:
        return time.time() + self._offset_seconds

    def advance(self, seconds: float) -> None:
        """Advance the clock. Raises ValueError for a negative number of seconds."""
        if seconds < 0:
            raise ValueError(f"cannot advance the clock by {seconds} s: it only goes forward")
        self._offset_seconds += seconds

    def reset(self) -> None:
        """Return to the real time."""
        self._offset_seconds = 0.0

    def pause_seconds(self, seconds: float) -> float:
        """The real seconds to wait for `seconds` of simulated time; advances the clock if waits are skipped."""
        if self.realtime:
            return seconds
        self.advance(seconds)
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(self.pause_seconds(seconds))

    async def elapse(self, seconds: float) -> None:
        """Wait until `seconds` of simulated time have passed, in real time or by `advance`. It is never skipped.

        For periodic work on real machines. If the clock is reset during the wait, the wait starts again.
        """
        until = self.now() + seconds
        while (left := until - self.now()) > 0:  # Not simulator.retry: this is the simulated clock.
            if left > seconds:
                until = self.now() + seconds
            await asyncio.sleep(min(left, _TICK_SECONDS))

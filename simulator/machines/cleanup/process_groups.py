"""flysim's side of the watchdog: starts it once per run, and tells it which process groups are alive."""

from __future__ import annotations

import os
import secrets

from simulator.machines.cleanup import kill_processes as watchdog
from simulator.machines.cleanup.process import Helper


class Guard:
    """Sees to it that no machine outlives this process, however it ends."""

    def __init__(self) -> None:
        self.marker = f"{os.getpid()}-{secrets.token_hex(6)}/"
        unmarked = {name: value for name, value in os.environ.items() if name != watchdog.MARKER}
        self._watchdog = Helper(watchdog.__file__, self.marker, env=unmarked)

    def marker_of(self, machine_id: str) -> str:
        """What the processes of a machine carry in `watchdog.MARKER`; it begins with the marker of the run."""
        return f"{self.marker}{machine_id}/"

    def start(self) -> None:
        """Before the first machine."""
        self._watchdog.start()

    def add(self, group: int) -> None:
        self._watchdog.tell(f"+{group}")

    def remove(self, group: int) -> None:
        """Once the group is gone, because its number may come to mean another."""
        self._watchdog.tell(f"-{group}")

    async def close(self) -> None:
        await self._watchdog.dismiss()

"""flysim's side of the watchdog: starts it once per run, and tells it which process groups are alive."""

from __future__ import annotations

import os
import secrets

from simulator.machines.cleanup import process_cleanup as process_cleanup
from simulator.machines.cleanup.launcher import CleanupProcess


class ProcessGroupCleanup:
    """Sees to it that no machine outlives this process, however it ends."""

    def __init__(self) -> None:
        self.marker = f"{os.getpid()}-{secrets.token_hex(6)}/"
        unmarked = {name: value for name, value in os.environ.items() if name != process_cleanup.MARKER}
        self._process = CleanupProcess(process_cleanup.__file__, self.marker, env=unmarked)

    def marker_of(self, machine_id: str) -> str:
        """What the processes of a machine carry in `watchdog.MARKER`; it begins with the marker of the run."""
        return f"{self.marker}{machine_id}/"

    def start(self) -> None:
        """Before the first machine."""
        self._process.start()

    def add(self, group: int) -> None:
        self._process.tell(f"+{group}")

    def remove(self, group: int) -> None:
        """Once the group is gone, because its number may come to mean another."""
        self._process.tell(f"-{group}")

    async def close(self) -> None:
        await self._process.finish()

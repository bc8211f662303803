"""flysim's side of the process cleanup: starts it once per run, and sends it the live process groups."""

from __future__ import annotations

import os
import secrets

from simulator.machines.cleanup import process_cleanup as process_cleanup
from simulator.machines.cleanup.launcher import CleanupProcess


class ProcessGroupCleanup:
    """Ensures that no machine outlives this process, even if it is killed."""

    def __init__(self) -> None:
        self.marker = f"{os.getpid()}-{secrets.token_hex(6)}/"
        unmarked = {name: value for name, value in os.environ.items() if name != process_cleanup.MARKER}
        self._process = CleanupProcess(process_cleanup.__file__, self.marker, env=unmarked)

    def marker_of(self, machine_id: str) -> str:
        """The value of `process_cleanup.MARKER` for a machine's processes; it starts with the marker of the run."""
        return f"{self.marker}{machine_id}/"

    def start(self) -> None:
        """Called before the first machine starts."""
        self._process.start()

    def add(self, group: int) -> None:
        self._process.send(f"+{group}")

    def remove(self, group: int) -> None:
        """Called once the group is gone, because the kernel may reuse its number."""
        self._process.send(f"-{group}")

    async def close(self) -> None:
        await self._process.finish()

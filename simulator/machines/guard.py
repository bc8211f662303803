"""flysim's side of the watchdog: starts it once per run, and tells it which process groups are alive."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

from simulator.machines import watchdog

_PATIENCE_SECONDS = 2.0


class Guard:
    """Sees to it that no machine outlives this process, however it ends."""

    def __init__(self) -> None:
        self.marker = f"{os.getpid()}-{secrets.token_hex(6)}/"
        self._watchdog: subprocess.Popen[bytes] | None = None

    def marker_of(self, machine_id: str) -> str:
        """What the processes of a machine carry in `watchdog.MARKER`; it begins with the marker of the run."""
        return f"{self.marker}{machine_id}/"

    def start(self) -> None:
        """Before the first machine; takes a millisecond or two, since nothing waits for the watchdog to be ready."""
        if self._watchdog is not None:
            return
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", watchdog.__file__, self.marker],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={name: value for name, value in os.environ.items() if name != watchdog.MARKER},
            start_new_session=True,  # Ctrl-C in the terminal is for flysim, which then stops its machines itself.
        )

    def add(self, group: int) -> None:
        self._tell(f"+{group}")

    def remove(self, group: int) -> None:
        """Once the group is gone, because its number may come to mean another."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """The watchdog ends when it has heard this, in a few milliseconds."""
        if self._watchdog is None:
            return
        self._tell(".")
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        try:
            self._watchdog.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:  # Somebody stopped it, for example.
            self._watchdog.kill()
            self._watchdog.wait()
        self._watchdog = None

    def _tell(self, word: str) -> None:
        if self._watchdog is None or self._watchdog.stdin is None:
            return
        try:
            self._watchdog.stdin.write(f"{word}\n".encode())
        except BrokenPipeError:  # Somebody killed the watchdog: the machines are still stopped in order.
            return

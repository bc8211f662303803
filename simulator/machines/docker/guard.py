"""Sees to it that no container outlives flysim, however that ends: flysim's side of `sweeper.py`."""

from __future__ import annotations

import subprocess
import sys

from simulator.machines.docker import sweeper

_PATIENCE_SECONDS = 2.0


class ContainerGuard:
    """A process that removes what this run made on the engine, should flysim be killed."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._sweeper: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Before the first container; nothing waits for it to be ready."""
        self._sweeper = subprocess.Popen(
            # Nothing that it loads is to be the user's (-P), while the folder stays theirs: names in DOCKER_CERT_PATH
            # and the like may start there.
            [sys.executable, "-P", sweeper.__file__, self._run],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is for flysim, which then removes them itself.
        )

    def close(self) -> None:
        """flysim ends in order."""
        if self._sweeper is None or self._sweeper.stdin is None:
            return
        try:
            self._sweeper.stdin.write(b".")
            self._sweeper.stdin.close()
            self._sweeper.wait(_PATIENCE_SECONDS)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._sweeper.kill()
            self._sweeper.wait()
        self._sweeper = None

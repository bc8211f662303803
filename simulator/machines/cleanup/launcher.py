"""Launcher of a cleanup process, a small program that cleans up after flysim if flysim is killed.

The program reads a pipe. flysim writes a line "." when it exits normally; if the pipe closes without that, flysim was
killed: the kernel closes the pipe once no process has it open.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from simulator.cancellation import shielded

_EXIT_SECONDS = 2.0


class CleanupProcess:
    """One cleanup process, from `start` to `finish`; both may be called more than once."""

    def __init__(
        self, script: str, argument: str, *, options: Sequence[str] = ("-I", "-S"), env: Mapping[str, str]
    ) -> None:
        """`options`: command-line options for Python; the default ones allow only the standard library."""
        self._command = [sys.executable, *options, script, argument]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pipe(self) -> tuple[int, ...]:
        """The descriptor of the pipe, while the program runs: it waits for every process that inherits this."""
        process = self._process
        return () if process is None or process.stdin is None else (process.stdin.fileno(),)

    def start(self) -> None:
        """Called before there is anything to clean up. Takes about 2 ms: it does not wait for the program."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._env,
                start_new_session=True,  # Ctrl-C in the terminal must reach only flysim, which cleans up itself.
            )

    def send(self, line: str) -> None:
        # A broken pipe: the program was killed. flysim still cleans up when it exits normally.
        with suppress(BrokenPipeError):
            for pipe in self.pipe:
                os.write(pipe, f"{line}\n".encode())

    async def finish(self) -> None:
        """End the program, because nothing is left to clean up; returns once it has exited."""
        self.send(".")
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await shielded(asyncio.to_thread(_wait_or_kill, process))


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_EXIT_SECONDS)
    except subprocess.TimeoutExpired:  # It may be suspended, for example.
        process.kill()
        process.wait()

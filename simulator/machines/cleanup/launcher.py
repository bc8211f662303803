"""A small program that outlives flysim just long enough to clean up after it, should flysim be killed: our side of it.

It reads from a pipe, and is told "." on a line of its own when flysim ends in order. A pipe that ends without that
means that flysim was killed: the kernel closes it when all who hold it are gone.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

from simulator.cancellation import shielded

_PATIENCE_SECONDS = 2.0


class CleanupProcess:
    """One such program, from `start` to `dismiss`; both may be called again."""

    def __init__(
        self, script: str, argument: str, *, options: Sequence[str] = ("-I", "-S"), env: Mapping[str, str]
    ) -> None:
        """`options`: Python's; those given load nothing but the standard library."""
        self._command = [sys.executable, *options, script, argument]
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pipe(self) -> tuple[int, ...]:
        """Its descriptor, while there is one: a process that holds it open is waited for."""
        process = self._process
        return () if process is None or process.stdin is None else (process.stdin.fileno(),)

    def start(self) -> None:
        """Before there is anything to clean up; takes a millisecond or two, since nothing waits for it to be ready."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self._env,
                start_new_session=True,  # Ctrl-C in the terminal is for flysim, which then cleans up itself.
            )

    def tell(self, word: str) -> None:
        with suppress(BrokenPipeError):  # Somebody killed it: flysim still cleans up in order.
            for pipe in self.pipe:
                os.write(pipe, f"{word}\n".encode())

    async def finish(self) -> None:
        """Nothing is left to clean up: returns when it has ended."""
        self.tell(".")
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await shielded(asyncio.to_thread(_await_end, process))


def _await_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:  # Somebody stopped it, for example.
        process.kill()
        process.wait()

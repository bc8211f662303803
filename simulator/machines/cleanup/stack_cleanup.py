"""Cleanup process for a Swarm stack: removes the stack of a flysim run if flysim is killed.

It runs as a script, isolated from the package, with only the standard library. It reads a pipe: flysim writes "." when
it exits normally. If the pipe closes without that, flysim was killed. A deployment that is under way keeps the pipe
open until it ends.

stack_cleanup.py STACK
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

_ROUNDS = 60
_PAUSE_SECONDS = 1.0


def main(stack: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    received = b""
    while data := os.read(0, 64):
        received += data
    if received:
        return
    for _ in range(_ROUNDS):  # Not simulator.retry: the script runs isolated.
        docker("stack", "rm", stack)
        if not has_resources(stack):
            return
        time.sleep(_PAUSE_SECONDS)


def has_resources(stack: str) -> bool:
    wanted = ("--filter", f"label=com.docker.stack.namespace={stack}", "--quiet")
    return bool(docker("service", "ls", *wanted) or docker("network", "ls", *wanted))


def docker(*arguments: str) -> bytes:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).stdout


if __name__ == "__main__":
    main(sys.argv[1])

"""A small process that outlives flysim just long enough to remove its stack, should flysim be killed itself.

It runs as a script, apart from the package, on the standard library alone. It is told "." when flysim ends in order;
if the pipe ends without that, flysim was killed. A deployment that was under way holds the pipe open until it ends.

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
    told = b""
    while data := os.read(0, 64):
        told += data
    if told:
        return
    for _ in range(_ROUNDS):
        docker("stack", "rm", stack)
        if not left(stack):
            return
        time.sleep(_PAUSE_SECONDS)


def left(stack: str) -> bool:
    wanted = ("--filter", f"label=com.docker.stack.namespace={stack}", "--quiet")
    return bool(docker("service", "ls", *wanted) or docker("network", "ls", *wanted))


def docker(*words: str) -> bytes:
    return subprocess.run(["docker", *words], capture_output=True, check=False).stdout


if __name__ == "__main__":
    main(sys.argv[1])

"""Minimal flysim for tests that kill it: runs machines until it is interrupted, and prints their output.

    python parent.py PROGRAM [COUNT]

After two lines of output it prints the pid of its cleanup process. With a COUNT it prints an empty line first.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from simulator.machines.backend import Exit
from simulator.machines.processes.backend import ProcessBackend
from simulator.testing import machine_spec


class Relay:
    """Prints the output of the machines, and after two lines the pid of the cleanup process."""

    def __init__(self) -> None:
        self.lines = 0

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        self.lines += 1
        print_line(line)
        if self.lines == 2:
            print_line(cleanup_pid())

    def machine_exited(self, machine_id: str, exited: Exit) -> None: ...


def print_line(line: object) -> None:
    os.write(1, f"{line}\n".encode())


def cleanup_pid() -> int:
    import psutil

    return next(
        child.pid
        for child in psutil.Process().children()
        if "process_cleanup.py" in " ".join(child.cmdline())
    )


async def main() -> None:
    program, count = sys.argv[1], int((sys.argv[2:] or ["1"])[0])
    backend = ProcessBackend()
    relay = Relay()
    interrupted = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
    if count > 1:
        print_line("")
    for number in range(1, count + 1):
        spec = machine_spec(number, (sys.executable, "-I", "-u", "-c", program))
        await backend.launch(spec, relay, dns_address="")
    await interrupted.wait()
    await asyncio.gather(*(backend.stop(f"{number:014x}") for number in range(1, count + 1)))
    await backend.close()


if __name__ == "__main__":
    asyncio.run(main())

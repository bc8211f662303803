"""A small process that outlives flysim just long enough to kill its machines, should flysim be killed itself.

It runs as a script, apart from the package, on the standard library alone, and is told of process groups over a
pipe: `+<group>` and `-<group>`, each on a line; `.` when flysim ends in order. If the pipe ends without that,
flysim was killed, and everything of its run is killed too: the groups, and on Linux every process that carries the
run's marker in its environment, because a daemon leaves its group. The kernel closes the pipe when flysim and
all that it was about to start have let go of it, so there is no moment at which a machine could slip by.
"""

from __future__ import annotations

import os
import signal
import sys
import time

MARKER = "FLYSIM_MACHINE"
"""The variable that marks every process of a machine, with `<run>/<machine id>`."""

_ROUNDS = 40
_PAUSE_SECONDS = 0.025


def find_marked(marker: str) -> list[int]:
    """The processes that were started with a marker that begins so; none where /proc does not tell."""
    wanted = f"\0{MARKER}={marker}".encode()
    marked = []
    for name in _processes():
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - pathlib takes its time to load
                environment = file.read()
        except OSError:  # It has ended, or is another user's.
            continue
        if wanted in b"\0" + environment:
            marked.append(int(name))
    return marked


def any_lives(group: int, pids: set[int]) -> bool | None:
    """Whether one of a process group, or of these, has not ended yet; a zombie has. None where /proc does not tell.

    One that is ending has no environment any more, and may still have its sockets.
    """
    names = _processes()
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, _, its_group = file.read().rpartition(b") ")[2].split()[:3]
        except (OSError, ValueError):  # It has ended meanwhile.
            continue
        if state not in (b"Z", b"X") and (int(its_group) == group or int(name) in pids):
            return True
    return False if names else None


def _processes() -> list[str]:
    try:
        return [name for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    except OSError:
        return []


def kill_group(group: int, signal_number: int = signal.SIGKILL) -> bool:
    """Send a signal to a whole process group; whether there was anyone to get it."""
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):  # macOS: the latter, when only a zombie is left.
        return False
    return True


def kill_processes(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def watch(pipe: int) -> set[int] | None:
    """The process groups that are left when flysim was killed; None when it ended in order."""
    groups: set[int] = set()
    rest = b""
    while data := os.read(pipe, 4096):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line == b".":
                return None
            (groups.add if line.startswith(b"+") else groups.discard)(int(line[1:]))
    return groups


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups = watch(0)
    if groups is None:
        return
    for group in groups:
        kill_group(group)
    for round_number in range(_ROUNDS):
        marked = find_marked(sys.argv[1])
        if not marked and round_number:
            return
        kill_processes(marked)
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()

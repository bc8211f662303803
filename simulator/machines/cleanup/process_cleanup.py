"""Cleanup process for machines that are processes: kills those of a flysim run if flysim is killed.

It runs as a script, isolated from the package, with only the standard library. It reads process groups from a pipe:
`+<group>` and `-<group>`, one per line, and `.` when flysim exits normally. If the pipe closes without that, flysim was
killed, and the script kills the groups, and on Linux every process with the run's marker in its environment, because a
daemon leaves its group. The kernel closes the pipe once flysim and every process that it was starting have closed it,
so no machine is missed.
"""

from __future__ import annotations

import os
import signal
import sys
import time

MARKER = "FLYSIM_MACHINE"
"""The environment variable of every process of a machine; its value is `<run>/<machine id>/`."""

_ROUNDS = 40
_PAUSE_SECONDS = 0.025


def find_marked(marker: str) -> list[int]:
    """The pids of processes whose marker starts with `marker`; none without /proc."""
    wanted = f"\0{MARKER}={marker}".encode()
    marked = []
    for name in _processes():
        try:
            with open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
                environment = file.read()
        except OSError:  # The process has ended or belongs to another user.
            continue
        if wanted in b"\0" + environment:
            marked.append(int(name))
    return marked


def any_alive(group: int, pids: set[int]) -> bool | None:
    """Whether a process of the group, or one of `pids`, is still alive; a zombie is not. None without /proc.

    A process that is exiting no longer has an environment, but may still have its sockets.
    """
    names = _processes()
    for name in names:
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                state, _, its_group = file.read().rpartition(b") ")[2].split()[:3]
        except (OSError, ValueError):  # The process has ended in the meantime.
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
    """Signal a process group. Returns whether it has any process."""
    try:
        os.killpg(group, signal_number)
    except (ProcessLookupError, PermissionError):  # PermissionError: on macOS, if only a zombie is left.
        return False
    return True


def kill_processes(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def watch(pipe: int) -> set[int] | None:
    """The process groups that are left if flysim was killed; None if it exited normally."""
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
    for round_number in range(_ROUNDS):  # Not simulator.retry: the script runs isolated.
        marked = find_marked(sys.argv[1])
        if not marked and round_number:
            return
        kill_processes(marked)
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main()

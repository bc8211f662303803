"""The launcher of a cleanup process, which ends it even if the process is suspended or killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from simulator.machines.cleanup.launcher import CleanupProcess

SCRIPT = """
import pathlib, sys
received = sys.stdin.read()
pathlib.Path(sys.argv[1]).write_text(received)
"""


@pytest.fixture
def cleanup(tmp_path: Path) -> CleanupProcess:
    """A process that writes what it received to a file, once its pipe is closed."""
    (tmp_path / "script.py").write_text(SCRIPT)
    return CleanupProcess(str(tmp_path / "script.py"), str(tmp_path / "received"), env=os.environ)


def start(cleanup: CleanupProcess) -> psutil.Process:
    """The only new child: just after its start a process has no command line yet to identify it."""
    before = psutil.Process().children()
    cleanup.start()
    (process,) = [each for each in psutil.Process().children() if each not in before]
    return process


async def test_it_receives_the_end_mark_on_a_normal_exit(cleanup: CleanupProcess, tmp_path: Path) -> None:
    await cleanup.finish()
    process = start(cleanup)
    cleanup.start()
    cleanup.send("+1")
    await cleanup.finish()
    await cleanup.finish()
    assert (tmp_path / "received").read_text() == "+1\n.\n"
    assert not process.is_running()
    assert cleanup.pipe == ()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_suspended_or_killed_cleanup_process_does_not_delay_the_exit(
    cleanup: CleanupProcess, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.machines.cleanup.launcher._EXIT_SECONDS", 0.2)
    process = start(cleanup)
    process.send_signal(number)
    if number == signal.SIGKILL:
        psutil.wait_procs([process], timeout=5)
    cleanup.send("+1")
    await cleanup.finish()
    assert not process.is_running()

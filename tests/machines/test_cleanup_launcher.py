"""A program that outlives flysim is let go of, whatever became of it meanwhile."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from simulator.machines.cleanup.launcher import CleanupProcess

SCRIPT = """
import pathlib, sys
words = sys.stdin.read()
pathlib.Path(sys.argv[1]).write_text(words)
"""


@pytest.fixture
def helper(tmp_path: Path) -> CleanupProcess:
    """It writes down what it was told, once its pipe has ended."""
    (tmp_path / "script.py").write_text(SCRIPT)
    return CleanupProcess(str(tmp_path / "script.py"), str(tmp_path / "told"), env=os.environ)


def start(helper: CleanupProcess) -> psutil.Process:
    """The only new child: for an instant after its start a program has no command line to know it by."""
    before = psutil.Process().children()
    helper.start()
    (process,) = [each for each in psutil.Process().children() if each not in before]
    return process


async def test_it_is_told_of_an_orderly_end(helper: CleanupProcess, tmp_path: Path) -> None:
    await helper.finish()
    process = start(helper)
    helper.start()
    helper.tell("+1")
    await helper.finish()
    await helper.finish()
    assert (tmp_path / "told").read_text() == "+1\n.\n"
    assert not process.is_running()
    assert helper.pipe == ()


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_one_that_does_not_listen_any_more_is_not_waited_for(
    helper: CleanupProcess, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.machines.cleanup.launcher._PATIENCE_SECONDS", 0.2)
    process = start(helper)
    process.send_signal(number)
    if number == signal.SIGKILL:
        psutil.wait_procs([process], timeout=5)
    helper.tell("+1")
    await helper.finish()
    assert not process.is_running()

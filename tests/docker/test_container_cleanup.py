"""Cleanup of containers, networks and processes, also from a folder whose modules shadow flysim's."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from tests.docker.runs import cleanup_processes_of, objects_of, run_id_of
from tests.e2e.command import start_up, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with modules named like flysim's package and the engine's SDK."""
    folder = tmp_path / "project"
    (folder / "simulator").mkdir(parents=True)
    (folder / "simulator" / "__init__.py").touch()
    (folder / "docker.py").write_text('raise SystemExit("the docker.py of the project")\n')
    return folder


def has_exited(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_from_a_folder_with_shadowing_modules_is_cleaned_up(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    with start_up(tmp_path, None, "--backend", "docker", cwd=folder) as up:
        (cleanup,) = cleanup_processes_of(up.process.pid)
        run = run_id_of(cleanup)
        assert len(objects_of(run)) == 5  # three machines, the gateway, a network

        up.process.send_signal(number)
        up.process.wait(30)
        if number is signal.SIGINT:
            assert has_exited(cleanup)

    wait_for(lambda: has_exited(cleanup), "the end of the cleanup process", up.log)
    assert objects_of(run) == []

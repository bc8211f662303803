"""Nothing of a run is left, whatever the folder is that flysim was run from: no container, network or process."""

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
    """A project whose modules have the names of ours and of the engine's SDK."""
    folder = tmp_path / "project"
    (folder / "simulator").mkdir(parents=True)
    (folder / "simulator" / "__init__.py").touch()
    (folder / "docker.py").write_text('raise SystemExit("the docker.py of the project")\n')
    return folder


def is_over(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_run_from_a_folder_with_modules_of_its_own(
    number: signal.Signals, folder: Path, tmp_path: Path
) -> None:
    with start_up(tmp_path, None, "--backend", "docker", cwd=folder) as up:
        (last,) = cleanup_processes_of(up.process.pid)
        run = run_id_of(last)
        assert len(objects_of(run)) == 5  # three machines, the gateway, a network

        up.process.send_signal(number)
        up.process.wait(30)
        if number is signal.SIGINT:
            assert is_over(last)

    wait_for(lambda: is_over(last), "the end of the sweeper", up.log)
    assert objects_of(run) == []

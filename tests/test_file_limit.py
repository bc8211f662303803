"""The limit of open files, in processes of its own: it cannot be raised again once it was lowered."""

from __future__ import annotations

import subprocess
import sys

import pytest

RAISES = """
import resource, subprocess
from simulator.file_limit import file_limit, raise_file_limit, restore_file_limit
hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
raise_file_limit()
raise_file_limit()
child = subprocess.Popen(["sh", "-c", "read line; ulimit -Sn"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
restore_file_limit(child.pid)
print(file_limit() == hard, child.communicate(b"go\\n")[0].decode().strip())
restore_file_limit(child.pid)  # it has ended: nothing happens
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS cannot change the limit of another process")
def test_flysim_raises_its_own_limit_and_restores_that_of_its_machines() -> None:
    done = subprocess.run([sys.executable, "-c", RAISES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "200"]

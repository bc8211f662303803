"""Cleanup process for containers of a killed flysim: few imports while it waits, and it retries on errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from simulator.machines.cleanup import container_cleanup as container_cleanup
from tests.machines.fake_engine import run_rejecting_engine

CLEANUP = (sys.executable, "-P", "-X", "importtime", container_cleanup.__file__, "r1")


def test_after_a_normal_exit_it_has_imported_almost_nothing() -> None:
    ended = subprocess.run(CLEANUP, input=b".\n", capture_output=True, timeout=30, check=True)
    loaded = {line.rpartition(b"|")[2].strip().partition(b".")[0] for line in ended.stderr.splitlines()}

    assert b"signal" in loaded
    assert loaded.isdisjoint({b"docker", b"simulator", b"asyncio", b"pydantic"})


def test_a_failed_round_is_followed_by_another(tmp_path: Path) -> None:
    """First the engine rejects the request, then its response is not a list of containers."""
    responses = {"GET /containers/json": [None, 0, [{"Id": "c1"}], []], "GET /networks": [[]]}
    with run_rejecting_engine(tmp_path / "s", responses=responses) as server:
        ended = subprocess.run(
            CLEANUP, input=b"", env={"DOCKER_HOST": server.host}, stderr=subprocess.PIPE, timeout=30
        )

    assert ended.returncode == 0, ended.stderr.decode()
    assert sum(each.startswith("GET /containers/json?") for each in server.requests) == 5
    assert sum(each.startswith("DELETE /containers/c1?") for each in server.requests) == 1

"""What a fly.toml says about deploys, and what a running fleet has nothing to do with."""

from __future__ import annotations

from pathlib import Path

from tests.config.test_fly_toml import FLYSIM
from tests.config.writing import load


def test_checks_of_deploys_are_no_checks_of_running_machines(tmp_path: Path) -> None:
    """F-5.24: machine checks run when a deploy does, so routing never waits for them"""
    fly_toml = """\
        [http_service]
          [[http_service.machine_checks]]
            image = "curlimages/curl"
            command = ["curl", "http://[$FLY_TEST_MACHINE_IP]"]
        [deploy]
          strategy = "bluegreen"
        """
    config = load(tmp_path, FLYSIM, fly_toml)
    assert [machine.checks for machine in config.machines] == [()]

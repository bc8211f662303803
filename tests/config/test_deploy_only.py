"""Settings of a fly.toml that affect deploys only, not running machines."""

from __future__ import annotations

from pathlib import Path

from tests.config.test_fly_toml import FLYSIM
from tests.config.writing import load


def test_machine_checks_of_a_deploy_do_not_apply_to_running_machines(tmp_path: Path) -> None:
    """F-5.24: machine checks run during a deploy, so routing never waits for them."""
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

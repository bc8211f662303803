"""gRPC through an `h2_backend` service, with machines as containers."""

from __future__ import annotations

import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.swarm import docker
from tests.e2e.command import DEADLINE_SECONDS, start_up
from tests.e2e.grpc_calls import AMS, DFW, FLY_TOML, check_calls

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(300)]

IMAGE = "flysim-test-grpc:latest"
APP = Path(__file__).parents[1] / "e2e" / "grpc_app.py"
DOCKERFILE = """\
FROM python:3.13-slim
COPY wheels /wheels
RUN pip install --no-index --find-links /wheels grpcio
COPY grpc_app.py /app.py
USER nobody
CMD ["python", "/app.py"]
"""


def download_wheels(folder: Path) -> None:
    """Download grpcio for the image outside of the build, which may have no access to a package index."""
    options = [
        "--only-binary=:all:",
        "--python-version=3.13",
        f"--platform=manylinux2014_{platform.machine()}",
    ]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", *options]
    subprocess.run([*command, "--dest", str(folder), "grpcio"], check=True)


def test_each_kind_of_grpc_call_passes_and_a_unary_call_is_replayed(tmp_path: Path) -> None:
    download_wheels(tmp_path / "wheels")
    shutil.copy(APP, tmp_path)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    docker("build", "--quiet", "--tag", IMAGE, str(tmp_path))
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    config = tmp_path / "flysim.toml"
    config.write_text(
        "version = 1\nedges = { ams = 0 }\ncontrol = { port = 0 }\n"
        f'[apps.rooms]\nfly_toml = "fly.toml"\nimage = "{IMAGE}"\n'
        f'machines = [{{ region = "ams", id = "{AMS}" }}, {{ region = "dfw", id = "{DFW}" }}]\n'
    )
    with start_up(tmp_path, config, "--backend", "docker") as up:
        check_calls(up.edge("ams"))
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(DEADLINE_SECONDS) == 0, up.log.read_text()

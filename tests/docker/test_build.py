"""Image builds: by the engine's own builder, or by the docker CLI if the Dockerfile needs BuildKit."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.image.build import build_image
from simulator.machines.docker.image.images import PYTHON_IMAGE
from simulator.testing import eventually
from tests.docker.swarm import docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

CACHED = "RUN --mount=type=cache,target=/cache"


@pytest.fixture
def image() -> Iterator[str]:
    """The name of an image that does not exist yet; removed after the test."""
    name = f"flysim-test-{secrets.token_hex(4)}"
    yield name
    if docker("images", "--quiet", name).strip():
        docker("rmi", "--force", name)


async def build(image: str, folder: Path, *lines: str) -> None:
    (folder / "Dockerfile").write_text("\n".join([f"FROM {PYTHON_IMAGE}", *lines]) + "\n")
    engine = await Engine.connect()
    try:
        await build_image(engine, image, folder)
    finally:
        engine.close()


@pytest.mark.parametrize("line", ["RUN echo built > /made", f"{CACHED} echo built > /made"])
async def test_an_image_is_built_with_or_without_buildkit(image: str, tmp_path: Path, line: str) -> None:
    await build(image, tmp_path, line)
    assert docker("run", "--rm", image, "cat", "/made").strip() == "built"


@pytest.mark.parametrize("line", ["RUN echo no compiler; exit 7", f"{CACHED} echo no compiler; exit 7"])
async def test_a_failed_build_is_reported_with_its_last_lines(image: str, tmp_path: Path, line: str) -> None:
    with pytest.raises(
        EnvironmentFault, match=r"cannot be built: .*(code: 7|failed with exit code)"
    ) as raised:
        await build(image, tmp_path, line)
    assert "no compiler" in str(raised.value)
    assert f"hint: run the build alone: docker build -t {image} {tmp_path}" in str(raised.value)


async def test_without_the_docker_cli_the_hint_asks_for_it(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault, match=r"requires BuildKit(.|\n)*hint: install the docker CLI"):
        await build(image, tmp_path, f"{CACHED} true")


async def test_a_canceled_build_is_ended(image: str, tmp_path: Path) -> None:
    def builders() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if shutil.which("docker") in each.cmdline()]

    building = asyncio.create_task(build(image, tmp_path, f"{CACHED} sleep 100"))
    await eventually(lambda: bool(builders()), "the start of the CLI", within_seconds=20)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(building, 20)
    assert builders() == []
    assert docker("images", "--quiet", image).strip() == ""

"""Image build from a folder with a Dockerfile: by the engine's API, or by the docker CLI if BuildKit is needed.

The API only offers the legacy builder. A Dockerfile that uses `RUN --mount` or here-documents needs BuildKit.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

from simulator.cancellation import shielded
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.docker.engine import Engine, EngineError

_TAIL_LINES = 12
_NEEDS_BUILDKIT = re.compile("buildkit|unknown (instruction|flag)", re.IGNORECASE)


class _BuildError(Exception):
    """The reason, and the last lines of the build output."""

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.tail = [line for line in output.splitlines() if line.strip()][-_TAIL_LINES:]


async def build_image(engine: Engine, image: str, folder: Path) -> None:
    """Build and tag; takes almost no time if nothing has changed. Raises InputError, EnvironmentFault."""
    if not (folder / "Dockerfile").is_file():
        raise InputError(f'image "{image}": no Dockerfile in {folder}', expected="a folder with a Dockerfile")
    hint = f"run the build alone: docker build -t {image} {folder}"
    try:
        try:
            await _build_by_api(engine, image, folder)
        except _BuildError as error:
            if not _NEEDS_BUILDKIT.search(str(error)):
                raise
            docker = shutil.which("docker")
            if docker is None:
                hint = "install the docker CLI with buildx on this computer: the engine's API does not offer BuildKit"
                raise
            await _build_by_cli(docker, image, folder)
    except _BuildError as error:
        tail = "".join(f"\n  | {line}" for line in error.tail)
        raise EnvironmentFault(f'image "{image}" cannot be built: {error}{tail}', hint=hint) from error


async def _build_by_api(engine: Engine, image: str, folder: Path) -> None:
    try:
        output = await engine.call_cancellable(_request_build, engine.api, image, folder)
    except (EngineError, OSError, TypeError) as error:
        raise _BuildError(str(error)) from error
    message = next((str(entry["error"]) for entry in output if "error" in entry), None)
    if message is not None:
        raise _BuildError(message, "".join(str(each.get("stream", "")) for each in output))


def _request_build(api: Any, image: str, folder: Path) -> list[dict[str, Any]]:
    return list(api.build(path=str(folder), tag=image, rm=True, forcerm=True, decode=True))


async def _build_by_cli(docker: str, image: str, folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        docker,
        "build",
        "--tag",
        image,
        str(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # The SDK ignores Docker contexts; the CLI has to use the same engine.
        env={**os.environ, "DOCKER_CONTEXT": "default", "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
        start_new_session=True,  # Ctrl-C reaches flysim only, which then ends the build.
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # The CLI may ignore SIGTERM. The engine cancels the build with it.
        await shielded(process.wait())
        raise
    if process.returncode:
        raise _BuildError(
            f"docker build failed with exit code {process.returncode}", output.decode(errors="replace")
        )

"""Makes an image of a folder with a Dockerfile: by the engine's API, or by the docker CLI where that is not enough.

The API has the old builder only. A Dockerfile that is written for BuildKit, with `RUN --mount` or here-documents, is
the CLI's to build.
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
from simulator.machines.docker.engine import Engine, Refusal

_TAIL_LINES = 12
_FOR_BUILDKIT = re.compile("buildkit|unknown (instruction|flag)", re.IGNORECASE)


class _Failed(Exception):
    """Why, and what was said before."""

    def __init__(self, why: str, traceback: str = "") -> None:
        super().__init__(why)
        self.tail = [line for line in traceback.splitlines() if line.strip()][-_TAIL_LINES:]


async def build_image(engine: Engine, image: str, folder: Path) -> None:
    """Takes no time where nothing has changed. Raises InputError, EnvironmentFault."""
    if not (folder / "Dockerfile").is_file():
        raise InputError(f'image "{image}" is to be built in {folder}', expected="a folder with a Dockerfile")
    hint = f"try it alone: docker build -t {image} {folder}"
    try:
        try:
            await _build_by_api(engine, image, folder)
        except _Failed as failed:
            if not _FOR_BUILDKIT.search(str(failed)):
                raise
            docker = shutil.which("docker")
            if docker is None:
                hint = "install the docker CLI where flysim is, with buildx: the engine's API has no BuildKit"
                raise
            await _build_by_cli(docker, image, folder)
    except _Failed as failed:
        tail = "".join(f"\n  | {line}" for line in failed.tail)
        raise EnvironmentFault(f'image "{image}" cannot be built: {failed}{tail}', hint=hint) from failed


async def _build_by_api(engine: Engine, image: str, folder: Path) -> None:
    try:
        traceback = await engine.do_abandonable(_ask_for_build, engine.api, image, folder)
    except (Refusal, OSError, TypeError) as error:
        raise _Failed(str(error)) from error
    failure = next((str(said["error"]) for said in traceback if "error" in said), None)
    if failure is not None:
        raise _Failed(failure, "".join(str(each.get("stream", "")) for each in traceback))


def _ask_for_build(api: Any, image: str, folder: Path) -> list[dict[str, Any]]:
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
        # Of contexts the SDK knows nothing: it is to be the same engine.
        env={**os.environ, "DOCKER_CONTEXT": "default", "DOCKER_BUILDKIT": "1", "BUILDKIT_PROGRESS": "plain"},
        start_new_session=True,  # Ctrl-C is for flysim, which then ends it.
    )
    try:
        traceback, _ = await process.communicate()
    except asyncio.CancelledError:
        os.killpg(process.pid, signal.SIGKILL)  # The engine gives up with it; a polite signal may go unheard.
        await shielded(process.wait())
        raise
    if process.returncode:
        raise _Failed(
            f"docker build ended with status {process.returncode}", traceback.decode(errors="replace")
        )

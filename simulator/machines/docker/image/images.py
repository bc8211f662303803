"""What a container starts from: the app's own image, or Python's with the app's files copied into it.

Nothing is pulled: an image that is missing is named, with the command that would bring it. One with a folder to be
built from is built, once per run, in no time where nothing has changed.
"""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.docker.engine import USE_PROCESSES, Engine, Refusal, give_up
from simulator.machines.docker.image.build import build_image

PYTHON_IMAGE = "python:3.13-slim"
"""For apps without an image of their own, and for the gateway."""
PYTHON = "python3"
_PLACE = PurePosixPath("/srv/flysim")
_LEFT_OUT = frozenset({"node_modules", "__pycache__"})
_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """What to make a container of: an image, and for one that is not the app's own, its files and command."""

    image: str
    command: tuple[str, ...] = ()
    folder: str | None = None
    files: bytes = b""


class Images:
    """Finds, builds and fills what containers start from."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._found: dict[str, asyncio.Task[None]] = {}
        self._packed: dict[Path, bytes] = {}

    async def close(self) -> None:
        await give_up(self._found.values())

    async def require_python(self, why: str) -> None:
        await self._once(PYTHON_IMAGE, None, f"{why} runs in it")

    async def source_of(self, spec: MachineSpec, command: tuple[str, ...]) -> Source:
        """`command` is the spec's, placeholders filled in. Raises InputError, EnvironmentFault."""
        of_machine = f"machine {spec.name} of app {spec.app}"
        if spec.image is not None:
            await self._once(spec.image, spec.image_folder, f"app {spec.app} names it")
            return Source(spec.image, spec.image_command)
        if not spec.command or spec.command[0] != "{python}":
            raise InputError(
                f"{of_machine} has no image to be a container of",
                expected=f'image = "…" under [apps.{spec.app}] (build = "." beside it has flysim build it), or a '
                f"command that starts with {{python}}, which runs in {PYTHON_IMAGE}",
            )
        await self.require_python(of_machine)
        root = _root_of(spec)
        if root not in self._packed:
            self._packed[root] = await asyncio.to_thread(_pack, root)
        folder = _PLACE / spec.cwd.resolve().relative_to(root).as_posix()
        return Source(PYTHON_IMAGE, command, str(folder), self._packed[root])

    async def _once(self, image: str, folder: Path | None, why: str) -> None:
        if image not in self._found:
            self._found[image] = asyncio.create_task(self._require(image, folder, why))
        await asyncio.shield(self._found[image])

    async def _require(self, image: str, folder: Path | None, why: str) -> None:
        if folder is not None:
            await build_image(self._engine, image, folder)
            return
        try:
            await self._engine.do(self._engine.api.inspect_image, image)
        except Refusal as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise InputError(
                    f'"{image}" is no image: {error.explanation}', expected="a name such as chat:latest"
                ) from error
            raise EnvironmentFault(
                f'there is no image "{image}" on the Docker engine, and {why}',
                hint=f"docker pull {image}, or build it: docker build -t {image} FOLDER; {USE_PROCESSES}",
            ) from error


def _root_of(spec: MachineSpec) -> Path:
    """The folder of the config, or one above it if the command names files there."""
    cwd = spec.cwd.resolve()
    named = [cwd / word for word in spec.command[1:] if os.path.isfile(cwd / word)]  # noqa: PTH113 - any word at all
    return Path(os.path.commonpath([cwd, *(path.resolve().parent for path in named)]))


def _pack(root: Path) -> bytes:
    """A folder as a tar file; hidden files and what is installed into it stay behind. Raises InputError."""
    buffer, size = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for parent, folders, files in os.walk(root):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and name not in _LEFT_OUT
            )
            for name in sorted(name for name in files if not name.startswith(".")):
                path = Path(parent) / name
                size += path.stat().st_size if path.is_file() else 0
                if size > _MOST_BYTES:
                    raise InputError(
                        f"{root} has more than {_MOST_BYTES >> 20} MiB of files to copy into every container",
                        expected='an image = "…" for the app, or its config in a folder with only what it needs',
                    )
                tar.add(
                    path,
                    str(_PLACE / path.relative_to(root)).lstrip("/"),
                    recursive=False,
                    filter=_for_anyone,
                )
    return buffer.getvalue()


def _for_anyone(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (entry.isfile() or entry.issym()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o444
    return entry

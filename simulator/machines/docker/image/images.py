"""Images and files for containers: the app's own image, or Python's image with the app's files copied into it.

flysim does not pull images: an error names the missing image and the command to get it. An image with a build folder is
built once per run.
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
from simulator.machines.docker.engine import PROCESS_BACKEND_HINT, Engine, EngineError, cancel_all
from simulator.machines.docker.image.build import build_image

PYTHON_IMAGE = "python:3.13-slim"
"""For apps without an image of their own, and for the gateway."""
PYTHON = "python3"
_APP_ROOT = PurePosixPath("/srv/flysim")
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ContainerSource:
    """What to create a container from: an image, with the app's files and command if the image is Python's."""

    image: str
    command: tuple[str, ...] = ()
    folder: str | None = None
    files: bytes = b""
    """A tar archive, to be unpacked at the root."""


class Images:
    """Finds and builds images, and packs the apps' files. Each image is checked once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._packed: dict[Path, bytes] = {}

    async def close(self) -> None:
        await cancel_all(self._checks.values())

    async def require_python(self, user: str) -> None:
        """`user`: what needs the image, for the error message."""
        await self._once(PYTHON_IMAGE, None, user)

    async def source_of(self, spec: MachineSpec, command: tuple[str, ...]) -> ContainerSource:
        """`command`: the spec's command with its placeholders replaced. Raises InputError, EnvironmentFault."""
        machine = f"machine {spec.name} of app {spec.app}"
        if spec.image is not None:
            await self._once(spec.image, spec.image_folder, f"app {spec.app}")
            return ContainerSource(spec.image, spec.image_command)
        if not spec.command or spec.command[0] != "{python}":
            raise InputError(
                f"{machine} has no image, so it cannot run as a container",
                expected=f'image = "…" under [apps.{spec.app}] (with build = "." flysim builds it), or a command that '
                f"starts with {{python}} and runs in {PYTHON_IMAGE}",
            )
        await self.require_python(machine)
        root = _root_folder(spec)
        if root not in self._packed:
            self._packed[root] = await asyncio.to_thread(_pack, root)
        folder = _APP_ROOT / spec.cwd.resolve().relative_to(root).as_posix()
        return ContainerSource(PYTHON_IMAGE, command, str(folder), self._packed[root])

    async def _once(self, image: str, folder: Path | None, user: str) -> None:
        if image not in self._checks:
            self._checks[image] = asyncio.create_task(self._require(image, folder, user))
        await asyncio.shield(self._checks[image])

    async def _require(self, image: str, folder: Path | None, user: str) -> None:
        if folder is not None:
            await build_image(self._engine, image, folder)
            return
        try:
            await self._engine.call(self._engine.api.inspect_image, image)
        except EngineError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise InputError(
                    f'"{image}" is not an image name: {error.explanation}',
                    expected="a name such as chat:latest",
                ) from error
            raise EnvironmentFault(
                f'{user} needs the image "{image}", which the Docker engine does not have',
                hint=f"docker pull {image}, or docker build -t {image} FOLDER, {PROCESS_BACKEND_HINT}",
            ) from error


def _root_folder(spec: MachineSpec) -> Path:
    """The working directory, or the closest parent that also contains the files named in the command."""
    cwd = spec.cwd.resolve()
    # `os.path.isfile` accepts any argument of the command, even one that is not a valid path.
    named = [cwd / word for word in spec.command[1:] if os.path.isfile(cwd / word)]  # noqa: PTH113
    return Path(os.path.commonpath([cwd, *(path.resolve().parent for path in named)]))


def _pack(root: Path) -> bytes:
    """A tar archive of a folder, without hidden files and installed packages. Raises InputError if it is too large."""
    buffer, size = io.BytesIO(), 0
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for parent, folders, files in os.walk(root):
            folders[:] = sorted(
                name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
            )
            for name in sorted(name for name in files if not name.startswith(".")):
                path = Path(parent) / name
                size += path.stat().st_size if path.is_file() else 0
                if size > _MAX_BYTES:
                    raise InputError(
                        f"{root} has more than {_MAX_BYTES >> 20} MiB of files, too many to copy into every container",
                        expected='image = "…" for the app, or a config in a folder with only the files the app needs',
                    )
                tar.add(
                    path,
                    str(_APP_ROOT / path.relative_to(root)).lstrip("/"),
                    recursive=False,
                    filter=_readable_by_all,
                )
    return buffer.getvalue()


def _readable_by_all(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (entry.isfile() or entry.issym()):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mode |= 0o444
    return entry

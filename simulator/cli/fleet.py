"""What the commands that start a fleet share: its config, the files they write, and what they tell of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.cli import console
from simulator.errors import EnvironmentFault, InputError
from simulator.machines import backend_name

_NOT_EMULATED = re.compile(r"(.+?)(?::\d+)?: (.+) is not emulated")

if TYPE_CHECKING:
    from simulator.config import Config
    from simulator.runtime import Simulator


def read_config(path: Path | None, backend: str, *, quiet: bool) -> Config:
    """The config at `path`, else of this folder; says on stderr what of it will not be emulated."""
    from simulator.config import load_config

    check_backend(backend)
    config = load_config(path)
    if not quiet:
        for line in warning_lines(config):
            console.warn(line)
    return config


def warning_lines(config: Config) -> list[str]:
    """One line for all that a file asks for and does not get, and one for each other warning."""
    missing: dict[str, list[str]] = {}
    others = []
    for warning in config.warnings:
        match = _NOT_EMULATED.fullmatch(warning)
        if match:
            missing.setdefault(match[1], []).append(match[2])
        else:
            others.append(warning)
    return [_missing_line(path, keys) for path, keys in missing.items()] + others


def _missing_line(path: str, keys: list[str]) -> str:
    if len(keys) == 1:
        return f"{path}: {keys[0]} is not emulated"
    return f"{path}: {len(keys)} things are not emulated: {', '.join(keys)}"


def check_backend(backend: str) -> None:
    """Raises InputError for a name that is none."""
    backend_name(backend)


def demo_config() -> Path:
    """The demo's flysim.toml: in an installed package beside it, in a checkout at the top."""
    package = Path(__file__).parents[1]
    for folder in (package / "bundled", package.parent):
        if (folder / "flysim.toml").is_file() and (folder / "scenarios").is_dir():
            return folder / "flysim.toml"
    raise EnvironmentFault("the demo's files are missing from this installation", hint="install flysim again")


def note_start(config: Config, *, quiet: bool) -> None:
    count = len(config.machines)
    console.note(f"starting {count} machine{'s' if count != 1 else ''} …", quiet=quiet)


def check_writable(path: Path | None) -> None:
    """Raises InputError before the work for a file that could not be written after it."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(
            f"cannot write {path}: there is no folder {path.parent}", expected="a folder that exists"
        )
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder", expected="the name of a file")


def write_file(path: Path, text: str) -> None:
    """Raises InputError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def ready_file(path: Path | None, simulator: Simulator) -> Iterator[None]:
    """The file that says where everything is, for as long as it is there."""
    if path is None:
        yield
        return
    text = json.dumps(simulator.ready(), indent=2) + "\n"
    part = path.with_name(f".{path.name}.part")
    write_file(part, text)
    try:
        part.replace(path)  # All at once: whoever waits for the file never reads half of it.
        yield
    finally:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == text:  # Else it is another simulator's by now.
                path.unlink()

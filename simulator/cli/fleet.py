"""Shared parts of the commands that start a fleet: config, output files, warnings."""

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
    """Load the config at `path`, or the one of this folder, and print its warnings. Raises InputError."""
    from simulator.config import load_config

    check_backend(backend)
    config = load_config(path)
    if not quiet:
        for line in warning_lines(config):
            console.print_warning(line)
    return config


def warning_lines(config: Config) -> list[str]:
    """The config's warnings, with all settings of a file that are not emulated in one line."""
    missing: dict[str, list[str]] = {}
    others = []
    for warning in config.warnings:
        match = _NOT_EMULATED.fullmatch(warning)
        if match:
            missing.setdefault(match[1], []).append(match[2])
        else:
            others.append(warning)
    return [_not_emulated_line(path, keys) for path, keys in missing.items()] + others


def _not_emulated_line(path: str, keys: list[str]) -> str:
    if len(keys) == 1:
        return f"{path}: {keys[0]} is not emulated"
    return f"{path}: {len(keys)} settings are not emulated: {', '.join(keys)}"


def check_backend(backend: str) -> None:
    """Raises InputError for an unknown backend."""
    backend_name(backend)


def demo_config() -> Path:
    """The demo's flysim.toml: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "bundled", package.parent):
        if (folder / "flysim.toml").is_file() and (folder / "scenarios").is_dir():
            return folder / "flysim.toml"
    raise EnvironmentFault(
        "the files of the demo are missing from this installation", hint="reinstall flysim"
    )


def print_start(config: Config, *, quiet: bool) -> None:
    count = len(config.machines)
    console.print_note(f"starting {count} machine{'s' if count != 1 else ''} …", quiet=quiet)


def check_writable(path: Path | None) -> None:
    """Raises InputError, before any work is done, for an output file that cannot be written."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise InputError(
            f"cannot write {path}: there is no folder {path.parent}", expected="a path in an existing folder"
        )
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder", expected="the path of a file")


def write_file(path: Path, text: str, *, private: bool = False) -> None:
    """`private`: readable by its owner only. Raises InputError if the file cannot be written."""
    try:
        if private:  # Created with its mode, not changed to it: nobody may read it in between.
            path.unlink(missing_ok=True)
            path.touch(mode=0o600, exist_ok=False)
        path.write_text(
            text, encoding="utf-8", errors="backslashreplace"
        )  # lone surrogates: valid escapes in JSON
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def ready_file(path: Path | None, simulator: Simulator, control_token: str | None = None) -> Iterator[None]:
    """Write the addresses of the simulator to `path` as JSON, and remove the file at the end of the block.

    With the token of the control API, if it requires one; then only the file's owner can read it.
    """
    if path is None:
        yield
        return
    ready = simulator.ready() | ({"control_token": control_token} if control_token else {})
    text = json.dumps(ready, indent=2) + "\n"
    path = path.resolve()  # a link stays a link
    if path.exists() and not path.is_file():  # a rename would replace a device or pipe for all programs
        write_file(path, text)
        yield
        return
    part = path.with_name(f".{path.name}.part")
    write_file(part, text, private=control_token is not None)
    try:
        part.replace(path)  # Atomic: a process that waits for the file never reads half of it.
        yield
    finally:
        with suppress(OSError):
            if path.read_text(encoding="utf-8") == text:  # Another simulator may have replaced the file.
                path.unlink()

"""Test helpers that write configuration files and load them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from simulator.config import Config, load_config
from simulator.errors import InputError

HEAD = """\
version = 1
[edges]
ams = 8080
"""
APP = """\
[apps.chat]
command = ["serve"]
[[apps.chat.machines]]
region = "ams"
"""


def write(folder: Path, text: str, name: str = "flysim.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def load(folder: Path, text: str, fly_toml: str | None = None) -> Config:
    if fly_toml is not None:
        write(folder, fly_toml, "fly.toml")
    return load_config(write(folder, text))


def problem_of(folder: Path, text: str, fly_toml: str | None = None) -> str:
    """The error message for invalid files, with paths relative to the folder. Fails if the files are valid."""
    with pytest.raises(InputError) as caught:
        load(folder, text, fly_toml)
    assert caught.value.exit_status == 2
    return str(caught.value).replace(f"{folder}/", "")

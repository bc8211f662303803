"""Who takes care of a stack should flysim be killed: with a `docker` that only writes down what it is told."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from simulator.machines.swarm import caretaker
from simulator.machines.swarm.deployment import Deployment

DOCKER = """#!/bin/sh
echo "$@" >> "{folder}/told"
cat > "{folder}/deployed"
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the words are that `docker` was called with."""
    command = tmp_path / "docker"
    command.write_text(DOCKER.format(folder=tmp_path))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "told"


def caretakers() -> list[str]:
    """The stacks that have one."""
    commands = [each.cmdline() for each in psutil.Process().children()]
    return [command[-1] for command in commands if caretaker.__file__ in command]


async def test_a_stack_of_our_own_has_a_caretaker_until_it_is_gone(told: Path) -> None:
    deployment = Deployment("ours", is_own=True)
    await deployment.deploy("the file", from_registry=False)
    assert (told.parent / "deployed").read_text() == "the file"
    assert caretakers() == ["ours"]
    await deployment.remove()
    await deployment.dismiss()
    assert told.read_text().splitlines()[-1] == "stack rm ours"
    assert caretakers() == []


async def test_nobody_would_remove_a_stack_that_is_not_ours(told: Path) -> None:
    deployment = Deployment("theirs", is_own=False)
    await deployment.deploy("the file", from_registry=False)
    assert caretakers() == []
    await deployment.dismiss()
    assert "rm" not in told.read_text().split()
    assert deployment.labels.keys() == {"flysim.added"}
    assert deployment.mark == f"flysim.added={deployment.run}"

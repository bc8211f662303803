"""Who takes care of a stack should flysim be killed: with a `docker` that only writes down what it is told."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from simulator.machines.cleanup import stack_cleanup as stack_cleanup
from simulator.machines.swarm.deployment import Deployment
from simulator.testing import eventually

DOCKER = """#!/bin/sh
echo "$@" >> "{folder}/told"
cat > "{folder}/deployed"
while [ "$2" = deploy -a -e "{folder}/busy" ]; do sleep 0.05; done
echo done "$2" >> "{folder}/told"
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the words are that `docker` was called with."""
    command = tmp_path / "docker"
    command.write_text(DOCKER.format(folder=tmp_path))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "told"


def watched_stacks() -> list[str]:
    """The stacks that have one."""
    commands = [each.cmdline() for each in psutil.Process().children()]
    return [command[-1] for command in commands if stack_cleanup.__file__ in command]


async def test_a_stack_of_our_own_has_a_caretaker_until_it_is_gone(told: Path) -> None:
    deployment = Deployment("ours", is_own=True)
    await deployment.deploy("the file", from_registry=False)
    assert (told.parent / "deployed").read_text() == "the file"
    assert watched_stacks() == ["ours"]
    await deployment.remove()
    await deployment.finish()
    assert told.read_text().splitlines()[-2:] == ["stack rm ours", "done rm"]
    assert watched_stacks() == []


async def test_nobody_would_remove_a_stack_that_is_not_ours(told: Path) -> None:
    deployment = Deployment("theirs", is_own=False)
    await deployment.deploy("the file", from_registry=False)
    assert watched_stacks() == []
    await deployment.finish()
    assert "rm" not in told.read_text().split()
    assert deployment.labels.keys() == {"flysim.added"}
    assert deployment.label_selector == f"flysim.added={deployment.run}"


async def test_a_stack_is_removed_after_it_was_deployed_however_often_that_was_given_up(told: Path) -> None:
    busy = told.parent / "busy"
    busy.touch()
    deployment = Deployment("ours", is_own=True)
    deploying = asyncio.create_task(deployment.deploy("the file", from_registry=False))
    await eventually(told.exists, "the deployment")
    for _ in range(2):
        deploying.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert (await asyncio.gather(deploying, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    removing = asyncio.create_task(deployment.remove())
    assert watched_stacks() == ["ours"]
    busy.unlink()
    await removing
    await deployment.finish()
    words = [line.split()[:2] for line in told.read_text().splitlines()]
    assert words == [["stack", "deploy"], ["done", "deploy"], ["stack", "rm"], ["done", "rm"]]

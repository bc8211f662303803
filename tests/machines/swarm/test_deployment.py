"""Deployment and its cleanup process, with a fake `docker` command that only records its arguments."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from simulator.errors import EnvironmentFault
from simulator.machines.cleanup import stack_cleanup as stack_cleanup
from simulator.machines.swarm.deployment import Deployment
from simulator.testing import eventually

DOCKER = """#!/bin/sh
echo "$@" >> "{folder}/calls"
cat > "{folder}/deployed"
if [ "$2" = rm ] && rm "{folder}/in_use" 2>/dev/null; then
  echo "Failed to remove network: network is in use by task 78mad4x6o7zw" >&2
  exit 1
fi
while [ "$2" = deploy -a -e "{folder}/busy" ]; do sleep 0.05; done
echo done "$2" >> "{folder}/calls"
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the arguments of each call of `docker`."""
    command = tmp_path / "docker"
    command.write_text(DOCKER.format(folder=tmp_path))
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "calls"


def watched_stacks() -> list[str]:
    """The stacks that have a cleanup process."""
    commands = [each.cmdline() for each in psutil.Process().children()]
    return [command[-1] for command in commands if stack_cleanup.__file__ in command]


async def test_flysims_own_stack_has_a_cleanup_process_until_it_is_removed(calls: Path) -> None:
    deployment = Deployment("ours", is_own=True)
    await deployment.deploy("the file", from_registry=False)
    assert (calls.parent / "deployed").read_text() == "the file"
    assert watched_stacks() == ["ours"]
    await deployment.remove()
    await deployment.finish()
    assert calls.read_text().splitlines()[-2:] == ["stack rm ours", "done rm"]
    assert watched_stacks() == []


async def test_an_existing_stack_has_no_cleanup_process(calls: Path) -> None:
    deployment = Deployment("theirs", is_own=False)
    await deployment.deploy("the file", from_registry=False)
    assert watched_stacks() == []
    await deployment.finish()
    assert "rm" not in calls.read_text().split()
    assert deployment.labels.keys() == {"flysim.added"}
    assert deployment.label_selector == f"flysim.added={deployment.owner}"


async def test_a_stack_is_removed_after_its_canceled_deployment_has_finished(calls: Path) -> None:
    busy = calls.parent / "busy"
    busy.touch()
    deployment = Deployment("ours", is_own=True)
    deploying = asyncio.create_task(deployment.deploy("the file", from_registry=False))
    await eventually(calls.exists, "the deployment")
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
    commands = [line.split()[:2] for line in calls.read_text().splitlines()]
    assert commands == [["stack", "deploy"], ["done", "deploy"], ["stack", "rm"], ["done", "rm"]]


async def test_a_stack_whose_network_is_still_in_use_is_removed_in_the_end(calls: Path) -> None:
    """Swarm removes a network only after its last task, and `docker stack rm` fails until then."""
    (calls.parent / "in_use").touch()
    deployment = Deployment("ours", is_own=True)
    await deployment.deploy("the file", from_registry=False)
    await deployment.remove()
    await deployment.finish()
    assert calls.read_text().splitlines()[-3:] == ["stack rm ours", "stack rm ours", "done rm"]


async def test_a_removal_that_fails_for_good_shows_the_error_of_the_cli(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.machines.swarm.deployment._REMOVE_SECONDS", 0.0)
    (calls.parent / "in_use").touch()
    with pytest.raises(
        EnvironmentFault, match=r"docker stack rm ours failed with exit code 1: .* in use by task"
    ):
        await Deployment("ours", is_own=True).remove()

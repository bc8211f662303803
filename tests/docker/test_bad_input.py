"""Containers that others made and got wrong: each is told in words of its own, at the start or while flysim runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simulator.config.compose.labels import MACHINE_ID, REGION
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Placement
from simulator.machines.docker import labels as label
from simulator.machines.docker.container.machine_container import MachineContainer
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.image.images import PYTHON_IMAGE
from simulator.testing import RecordingObserver
from tests.docker.swarm import docker
from tests.e2e.command import flysim, start_up

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

DFW = "286533db064e58"
NOWHERE = Placement("127.0.0.1", 8080, "")
CONFIG = """\
version = 1
edges = { dfw = 0 }
control = { port = 0 }
[apps.chat]
command = "serve"
machines = [{ region = "dfw" }]
"""


@dataclass
class Containers:
    """What a person runs beside a Compose file, with the labels of its project."""

    folder: Path
    project: str = field(default_factory=lambda: f"flysim-test-{secrets.token_hex(4)}")

    def __post_init__(self) -> None:
        self.config.write_text(CONFIG)
        self.compose.write_text(
            f"name: {self.project}\nservices: {{ web: {{ labels: {{ {REGION}: dfw }} }} }}\n"
        )

    @property
    def config(self) -> Path:
        return self.folder / "wanted.toml"

    @property
    def compose(self) -> Path:
        return self.folder / "compose.yml"

    def make(self, name: str, region: str = "dfw", *, port: str = "", verb: str = "run") -> str:
        """A web server in a container of that name, as machine `DFW`; its full name."""
        labels = (f"{label.PROJECT}={self.project}", f"{REGION}={region}", f"{MACHINE_ID}={DFW}")
        options = [word for each in labels for word in ("--label", each)]
        name = f"{self.project}-{name}"
        command = (PYTHON_IMAGE, "python", "-m", "http.server", "8080")
        published = ("--publish", f"127.0.0.1:{port}:8080")
        detached = ("--detach",) if verb == "run" else ()
        docker(verb, *detached, "--init", "--name", name, *options, *published, *command)
        return name

    def remove(self) -> None:
        made = docker("ps", "-aq", "--filter", f"label={label.PROJECT}={self.project}").split()
        if made:
            docker("rm", "--force", *made)


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    containers = Containers(tmp_path)
    yield containers
    containers.remove()


def refusal(containers: Containers) -> str:
    options = ("--compose", str(containers.compose), "-c", str(containers.config))
    result = flysim("exec", *options, "--", "true")
    assert result.returncode == 2, result.stderr
    return result.stderr.replace(f"{containers.folder}/", "")


def test_two_containers_that_are_one_machine_are_both_named(containers: Containers) -> None:
    one, other = containers.make("one"), containers.make("other")

    told = refusal(containers)

    assert "compose.yml: the containers " in told
    assert {one, other} <= set(told.split())
    assert f"are both machine {DFW}\n  expected: another fly.machine_id for each" in told


def test_a_container_in_a_region_that_there_is_not_is_named_with_its_label(containers: Containers) -> None:
    name = containers.make("one", "amz")

    told = refusal(containers)

    assert (
        f'compose.yml: container {name}: the label fly.region is "amz"; did you mean "ams"?\n  expected: '
        in told
    )


def test_what_is_wrong_with_a_container_that_comes_later_stands_in_the_log(containers: Containers) -> None:
    first = containers.make("first")
    options = ("--compose", str(containers.compose))
    with start_up(containers.folder, containers.config, *options) as up:
        second, third = containers.make("second"), containers.make("third", "mars")

        up.wait_for_line(f"container {second} is machine {DFW} too, and is not routed to")
        up.wait_for_line(f'container {third}: the label fly.region is "mars"')
        assert first not in up.log.read_text()


async def test_a_port_that_another_container_publishes_is_told_with_its_mend(containers: Containers) -> None:
    taken = docker("port", containers.make("one"), "8080/tcp").rpartition(":")[2]
    name = containers.make("other", port=taken, verb="create")
    engine, spec = await Engine.connect(), MachineSpec(DFW, "dfw-1", "chat", "dfw", is_taken=True)
    machine = MachineContainer(
        engine, docker("inspect", "--format={{.Id}}", name), spec, NOWHERE, RecordingObserver()
    )

    with pytest.raises(
        EnvironmentFault, match=r"^machine dfw-1 of app chat publishes a port that is taken: "
    ) as raised:
        await machine.start()
    engine.close()

    assert f"127.0.0.1:{taken}" in f"{raised.value}"
    assert "\n  hint: end whatever has it (docker ps shows published ports)" in f"{raised.value}"


@pytest.mark.parametrize(("verb", "state"), [("stop", "exited"), ("pause", "paused")])
def test_a_container_at_rest_is_woken_for_a_command_and_left_as_it_was(
    containers: Containers, verb: str, state: str
) -> None:
    name = containers.make("one")
    docker(verb, *(["--time=0"] if verb == "stop" else []), name)
    options = ("--compose", str(containers.compose), "-c", str(containers.config))

    result = flysim("exec", *options, "--", "sh", "-c", "curl --silent --fail $FLYSIM_EDGE")

    assert result.returncode == 0, result.stderr
    assert "Directory listing" in result.stdout
    assert docker("inspect", "--format={{.State.Status}}", name) == state

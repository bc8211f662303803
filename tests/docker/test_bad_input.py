"""Invalid containers of a Compose project: each is reported, at the start or while flysim runs."""

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
    """Containers with the labels of a Compose project, created without Compose."""

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
        """Create a web server in a container as machine `DFW`, and return the container's full name."""
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


def error_of_exec(containers: Containers) -> str:
    options = ("--compose", str(containers.compose), "-c", str(containers.config))
    result = flysim("exec", *options, "--", "true")
    assert result.returncode == 2, result.stderr
    return result.stderr.replace(f"{containers.folder}/", "")


def test_two_containers_with_the_same_machine_id_are_both_named(containers: Containers) -> None:
    one, other = containers.make("one"), containers.make("other")

    error = error_of_exec(containers)

    assert "compose.yml: containers " in error
    assert {one, other} <= set(error.split())
    assert (
        f"have the same machine id {DFW}\n  expected: a different fly.machine_id for each container" in error
    )


def test_a_container_with_an_unknown_region_is_named_with_its_label(containers: Containers) -> None:
    name = containers.make("one", "amz")

    error = error_of_exec(containers)

    assert (
        f'compose.yml: container {name}: the label fly.region is "amz"; did you mean "ams"?\n  expected: '
        in error
    )


def test_a_problem_of_a_container_that_starts_later_is_in_the_log(containers: Containers) -> None:
    first = containers.make("first")
    options = ("--compose", str(containers.compose))
    with start_up(containers.folder, containers.config, *options) as up:
        second, third = containers.make("second"), containers.make("third", "mars")

        up.wait_for_line(f"container {second} is not routed to: another container is already machine {DFW}")
        up.wait_for_line(f'container {third}: the label fly.region is "mars"')
        assert first not in up.log.read_text()


async def test_a_port_that_another_container_publishes_is_reported_with_a_hint(
    containers: Containers,
) -> None:
    taken = docker("port", containers.make("one"), "8080/tcp").rpartition(":")[2]
    name = containers.make("other", port=taken, verb="create")
    engine, spec = await Engine.connect(), MachineSpec(DFW, "dfw-1", "chat", "dfw", is_adopted=True)
    machine = MachineContainer(
        engine, docker("inspect", "--format={{.Id}}", name), spec, NOWHERE, RecordingObserver()
    )

    with pytest.raises(
        EnvironmentFault, match=r"^machine dfw-1 of app chat publishes a port that is in use: "
    ) as raised:
        await machine.start()
    engine.close()

    assert f"127.0.0.1:{taken}" in f"{raised.value}"
    assert "\n  hint: stop the program that uses it (docker ps lists published ports)" in f"{raised.value}"


@pytest.mark.parametrize(("verb", "state"), [("stop", "exited"), ("pause", "paused")])
def test_a_stopped_or_paused_container_runs_during_a_command_and_is_restored(
    containers: Containers, verb: str, state: str
) -> None:
    name = containers.make("one")
    docker(verb, *(["--time=0"] if verb == "stop" else []), name)
    options = ("--compose", str(containers.compose), "-c", str(containers.config))

    result = flysim("exec", *options, "--", "sh", "-c", "curl --silent --fail $FLYSIM_EDGE")

    assert result.returncode == 0, result.stderr
    assert "Directory listing" in result.stdout
    assert docker("inspect", "--format={{.State.Status}}", name) == state

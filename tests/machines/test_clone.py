"""Clone of a container that flysim did not create: what is copied, and what the engine chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.backend import Placement
from simulator.machines.docker.container.factory import ContainerFactory
from simulator.machines.docker.container.machine_container import MachineContainer
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.project import Project
from simulator.testing import RecordingObserver
from tests.machines.fake_engine import run_rejecting_engine

BARE: dict[str, Any] = {"Image": "web", "Cmd": None, "Entrypoint": ["/web"], "User": "", "WorkingDir": ""}
LABELS = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.service": "ams-1",
    "com.docker.compose.oneoff": "False",
    "fly.region": "ams",
    "tier": "web",
}
SPEC = MachineSpec("286533db064e58", "dfw-1", "streams", "dfw", further_ports=(9090,))


async def clone(folder: Path, environment: list[str] | None, patch: pytest.MonkeyPatch) -> Any:
    """The body of the request that creates a clone of a container with these variables."""
    original = {
        "Config": {**BARE, "Env": environment, "Labels": LABELS},
        "HostConfig": {},
        "NetworkSettings": {"Networks": {}},
    }
    responses = {"POST /containers/create": [{"Id": "c2"}], "GET /containers/c1/json": [original]}
    with run_rejecting_engine(folder / "s", responses=responses) as server:
        patch.setenv("DOCKER_HOST", server.host)
        engine, observer = await Engine.connect(), RecordingObserver()
        running = MachineContainer(engine, "c1", SPEC, Placement("10.0.0.2", 8080, ""), observer)
        made = await ContainerFactory(engine, "r1", (), no_edge).clone(
            SPEC, running, observer, frozenset({"private"})
        )
        engine.close()
    assert made.id == "c2"
    return server.bodies[0]


async def no_edge(port: int, client_ip: str) -> None: ...


@pytest.mark.parametrize("environment", [None, [], ["FLY_REGION=ams", "LANG"]])
async def test_a_clone_has_the_variables_of_its_original(
    environment: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine may return null; a variable that is explicitly unset has no value."""
    variables = (await clone(tmp_path, environment, monkeypatch))["Env"]

    assert [each for each in variables if "=" not in each] == (environment or [])[1:]
    assert [each for each in variables if each.startswith("FLY_REGION")] == ["FLY_REGION=dfw"]


async def test_the_engine_chooses_the_ports_of_a_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flysim may run in a container, where it cannot see which ports of the host are free."""
    bindings = (await clone(tmp_path, None, monkeypatch))["HostConfig"]["PortBindings"]

    chosen = [{"HostIp": "127.0.0.1", "HostPort": "0"}]
    assert bindings == {"8080/tcp": chosen, "9090/tcp": chosen}


async def test_a_clone_has_the_labels_of_its_project_but_is_not_a_machine_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like a container of `docker compose run`: if flysim is killed, the next flysim does not adopt it."""
    labels = (await clone(tmp_path, None, monkeypatch))["Labels"]

    assert labels == {
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "ams-1",
        "com.docker.compose.oneoff": "True",
        "flysim.run": "r1",
        "fly.app": "streams",
        "fly.region": "dfw",
        "fly.machine_id": "286533db064e58",
    }
    assert not Project("shop", Path("compose.yml")).is_machine(labels)

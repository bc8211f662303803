"""Containers of a Compose project, read as machines from the output of `docker inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.config.compose.labels import MACHINE_ID, REGION
from simulator.machines.docker import labels as label
from simulator.machines.docker.engine import Engine
from simulator.machines.docker.project import Project
from tests.machines.fake_engine import run_rejecting_engine

PROJECT = Project("shop", Path("compose.yml"), ("ams-1", "dfw-1"))
AMS, DFW = "d8dd626f379508", "286533db064e58"


def container(name: str, labels: dict[str, str], **config: Any) -> dict[str, Any]:
    """A container as `docker inspect` shows it."""
    config_attrs = {
        "Labels": {label.PROJECT: "shop", **labels},
        "Hostname": "411ed5e307e2",
        "Image": "web",
        "Env": None,
    }
    return {"Id": name, "Name": f"/{name}", "Config": config_attrs | config}


def machine(name: str, machine_id: str, **labels: str) -> dict[str, Any]:
    return container(name, {label.SERVICE: name, REGION: name[:3], MACHINE_ID: machine_id, **labels})


async def test_a_container_of_compose_run_is_not_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the labels of its service, including the machine id."""
    there = [machine("dfw-1", DFW), machine("ams-1", AMS, **{label.ONE_OFF: "False"})]
    run = machine("dfw-1-run-1f2e", DFW, **{label.ONE_OFF: "True"})
    listed = [{"Id": each["Id"], "Labels": each["Config"]["Labels"]} for each in (*there, run)]
    responses = {f"GET /containers/{each['Id']}/json": [each] for each in (*there, run)}
    with run_rejecting_engine(
        tmp_path / "s", responses={"GET /containers/json": [listed], **responses}
    ) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        machines = await PROJECT.find_machines(engine)
        engine.close()

    assert [each.id for each in machines] == [AMS, DFW]
    assert [PROJECT.is_machine(each["Labels"]) for each in listed] == [True, True, False]


@pytest.mark.parametrize(
    ("config", "seconds"), [({}, 10.0), ({"StopTimeout": None}, 10.0), ({"StopTimeout": 0}, 0)]
)
def test_the_kill_timeout_is_the_stop_timeout_of_the_container(
    config: dict[str, Any], seconds: float
) -> None:
    """`stop_grace_period: 0s` means no timeout; without it, the engine's default is ten seconds."""
    spec = PROJECT.read(container("ams-1", {REGION: "ams"}, **config), ())

    assert spec.kill_timeout_seconds == seconds

"""A remote engine: only the engine can tell which of its ports are free."""

from __future__ import annotations

import json

import httpx
import pytest

from simulator.config import load_config
from simulator.machines.docker.labels import RUN
from simulator.routing.model import MachineState
from simulator.runtime import Simulator
from simulator.testing import eventually
from tests.docker.remote import remote_engine
from tests.docker.swarm import docker
from tests.e2e.command import ROOT

pytestmark = [pytest.mark.docker, pytest.mark.timeout(120)]

DFW = "286533db064e58"


async def test_the_engine_chooses_the_ports_at_each_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with remote_engine() as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        config = load_config(ROOT / "flysim.toml")
        async with Simulator(config, realtime=False, free_ports=True, backend="docker") as simulator:
            port = simulator.supervisor.machine(DFW).port
            ours = ("--filter", f"label={RUN}", "--filter", f"publish={port}")
            (container,) = docker("ps", "-q", *ours).split()
            requested = json.loads(docker("inspect", container))[0]["HostConfig"]["PortBindings"]
            assert requested == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "0"}]}
            await check_served(simulator)

            docker("stop", container)
            await eventually(
                lambda: simulator.supervisor.machine(DFW).state is MachineState.STOPPED, "its stop"
            )
            docker("start", container)
            await eventually(lambda: simulator.supervisor.machine(DFW).is_candidate, "its check")
            await check_served(simulator)


async def check_served(simulator: Simulator) -> None:
    async with httpx.AsyncClient(base_url=simulator.edges["ams"]) as client:
        page = (await client.get("/", params={"instance": DFW})).text
    assert f'data-page-machine="{DFW}"' in page

"""Machines as containers, end to end: external changes are followed, and everything is removed at the end."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from simulator.config import Config, load_config
from simulator.errors import EnvironmentFault, InputError, SimulatorError
from simulator.machines.backend import Exit
from simulator.machines.docker import DockerBackend
from simulator.routing.model import MachineState
from simulator.runtime import Simulator
from simulator.testing import eventually
from tests.docker.demo import Demo, demo_up
from tests.docker.runs import cleanup_processes_of, objects_of, run_id_of
from tests.docker.swarm import docker
from tests.e2e.command import FLYSIM, ROOT, flysim, start_up, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

AMS, DFW, DFW_2 = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"
TO_DALLAS = f"/?instance={DFW}"
OURS = "label=flysim.run"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    config = load_config(ROOT / "flysim.toml")
    async with Simulator(config, realtime=False, free_ports=True, backend="docker") as simulator:
        yield simulator


def container_of(simulator: Simulator, machine_id: str) -> str:
    """The container that publishes the machine's port; other runs on the engine use other ports."""
    port = simulator.supervisor.machine(machine_id).port
    (container,) = docker("ps", "-q", "--filter", OURS, "--filter", f"publish={port}").split()
    return container


def state_of(simulator: Simulator, machine_id: str = DFW) -> MachineState | None:
    machine = simulator.fleet.find(machine_id)
    return machine.state if machine else None


async def open_socket(simulator: Simulator, machine_id: str = DFW) -> ClientConnection:
    url = simulator.edges["ams"].replace("http", "ws") + "/ws"
    return await websockets.connect(url, additional_headers={"Cookie": f"fly-machine-id={machine_id}"})


async def test_a_machine_is_a_container_with_its_id_as_host_name(simulator: Simulator) -> None:
    attrs = json.loads(docker("inspect", container_of(simulator, DFW)))[0]
    (network,) = attrs["NetworkSettings"]["Networks"].values()

    assert attrs["Config"]["Hostname"] == DFW
    assert network["GlobalIPv6Address"].startswith("fdaa:")
    assert f"FLY_PRIVATE_IP={network['GlobalIPv6Address']}" in attrs["Config"]["Env"]
    async with httpx.AsyncClient(base_url=simulator.edges["ams"], follow_redirects=False) as client:
        assert f'data-page-machine="{DFW}"' in (await client.get(TO_DALLAS)).text


async def test_names_of_the_private_network_lead_to_machines_and_to_the_edge(simulator: Simulator) -> None:
    """F-8.1, F-8.9, F-8.16, F-8.20: AAAA of private addresses, TXT, and .flycast through the proxy."""
    program = """
import dns.resolver, json, urllib.request
ask = lambda name, kind: sorted(str(each).strip('"') for each in dns.resolver.resolve(name, kind))
page = urllib.request.urlopen("http://streams.flycast/?instance=4d891ee9b43e08", timeout=5).read().decode()
print(json.dumps([ask("streams.internal", "AAAA"), ask("vms.streams.internal", "TXT"), page]))
"""
    # In a thread, because this process answers the requests.
    output = await asyncio.to_thread(docker, "exec", container_of(simulator, AMS), "python", "-c", program)
    addresses, texts, page = json.loads(output)

    assert addresses == sorted(machine.private_ip for machine in simulator.fleet.machines)
    assert all(address.startswith("fdaa:") for address in addresses)
    assert texts == [f"{AMS} ams,{DFW} dfw,{DFW_2} dfw"]
    assert f'data-page-machine="{DFW_2}"' in page


async def test_an_external_kill_closes_the_open_websocket_within_a_second(simulator: Simulator) -> None:
    """F-6.51, F-1.64: the WebSocket closes, and the next handshake is a replay to a stopped machine."""
    socket = await open_socket(simulator)

    docker("kill", container_of(simulator, DFW))
    start = time.monotonic()
    await socket.wait_closed()

    assert time.monotonic() - start < 1
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "its exit")
    with pytest.raises(websockets.InvalidStatus) as rejected:
        await open_socket(simulator)
    assert rejected.value.response.status_code == 502


async def test_a_stopped_container_is_not_routed_to_once_the_engine_reports_its_exit(
    simulator: Simulator,
) -> None:
    container = container_of(simulator, DFW)
    docker("stop", container)  # It returns once the engine has reported the exit.

    # Usually within 200 ms; a busy computer gets more time.
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "its exit", within_seconds=1.0)

    docker("start", container)
    await eventually(lambda: bool((m := simulator.fleet.find(DFW)) and m.is_candidate), "its first check")


async def test_an_external_pause_is_a_suspension_until_the_unpause(simulator: Simulator) -> None:
    docker("pause", container_of(simulator, DFW))
    await eventually(lambda: state_of(simulator) is MachineState.SUSPENDED, "the pause")

    docker("unpause", container_of(simulator, DFW))
    await eventually(
        lambda: bool((m := simulator.fleet.find(DFW)) and m.is_candidate), "the end of the pause"
    )


async def test_an_externally_removed_container_is_created_again_by_a_reset(simulator: Simulator) -> None:
    docker("rm", "-f", container_of(simulator, DFW))
    await eventually(lambda: state_of(simulator) is MachineState.STOPPED, "its exit")

    await simulator.reset()

    assert simulator.supervisor.machine(DFW).is_candidate


async def test_a_container_that_is_removed_right_before_its_start_is_created_again(
    simulator: Simulator,
) -> None:
    """The removal blocks the event loop, so flysim has not processed the engine's event when it starts the machine."""
    removed = container_of(simulator, DFW)
    await simulator.stop_machine(DFW)
    docker("rm", "-f", removed)

    await simulator.start_machine(DFW)

    assert state_of(simulator) is MachineState.STARTED
    assert container_of(simulator, DFW) != removed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_is_removed_however_flysim_ends(number: signal.Signals, tmp_path: Path) -> None:
    volumes = docker("volume", "ls", "-q")
    with start_up(tmp_path, None, "--backend", "docker") as up:
        run = run_id_of(*cleanup_processes_of(up.process.pid))
        assert len(objects_of(run)) == 5  # three machines, the gateway, a network

        up.process.send_signal(number)
        up.process.wait(30)

    wait_for(lambda: not objects_of(run), "an empty engine", up.log)
    assert docker("volume", "ls", "-q") == volumes


def test_an_interrupted_start_is_cleaned_up(tmp_path: Path) -> None:
    log = tmp_path / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*FLYSIM, "exec", "--backend", "docker", "-c", str(ROOT / "flysim.toml"), "--", "true"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_for(lambda: bool(cleanup_processes_of(process.pid)), "the first request", log)
            run = run_id_of(*cleanup_processes_of(process.pid))
            wait_for(lambda: bool(objects_of(run)), "the first container", log)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130, log.read_text()
        finally:
            process.kill()
            process.wait()

    assert objects_of(run) == []


def config_with(tmp_path: Path, *lines: str) -> Config:
    path = tmp_path / "flysim.toml"
    head = ["version = 1", "edges = { ams = 0 }", "control = { port = 0 }", "[apps.chat]"]
    path.write_text("\n".join([*head, *lines, 'machines = [{ region = "ams" }]']) + "\n")
    return load_config(path)


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (['image = "flysim-no-such-image"'], EnvironmentFault, "docker pull flysim-no-such-image"),
        (['image = "Not An Image"'], InputError, "is not an image name"),
        (['image = "x"', 'build = "nowhere"'], InputError, "a folder with a Dockerfile"),
        (['command = ["npm", "start"]'], InputError, "has no image, so it cannot run as a container"),
        (['command = ["{python}", "-c", "print(1); exit(3)"]'], EnvironmentFault, str(Exit(3))),
    ],
)
async def test_an_app_that_cannot_run_is_reported_with_a_hint_and_cleaned_up(
    lines: list[str], kind: type[SimulatorError], message: str, tmp_path: Path
) -> None:
    config = config_with(tmp_path, *lines)
    backend = DockerBackend([app.app for app in config.apps])
    with pytest.raises(kind) as raised:
        async with Simulator(config, free_ports=True, backend=backend):
            pass

    assert message in str(raised.value)
    assert "hint: " in str(raised.value) or "expected: " in str(raised.value)
    assert objects_of(backend.run_id) == []


async def test_an_app_that_listens_on_loopback_only_is_reported(tmp_path: Path) -> None:
    command = 'command = ["{python}", "-m", "http.server", "--bind", "127.0.0.1", "8080"]'
    config = config_with(tmp_path, command)
    app = config.apps[0]
    impatient = replace(
        app, machines=tuple(replace(spec, start_timeout_seconds=3.0) for spec in app.machines)
    )
    with pytest.raises(
        EnvironmentFault, match=r"127\.0\.0\.1:8080 of its container; make it listen on 0\.0\.0\.0"
    ):
        async with Simulator(replace(config, apps=(impatient,)), free_ports=True, backend="docker"):
            pass


def test_a_missing_engine_is_reported_with_its_address() -> None:
    for host, message in (
        ("unix:///nowhere.sock", "cannot connect to a Docker engine at unix:///nowhere.sock: No such file"),
        ("tcp://127.0.0.1:1", "cannot connect to a Docker engine at tcp://127.0.0.1:1: Connection refused"),
    ):
        result = flysim("exec", "--backend", "docker", "--", "true", env={"DOCKER_HOST": host})
        assert result.returncode == 3
        assert message in result.stderr
        assert "--backend process" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def project() -> Iterator[Demo]:
    with demo_up() as demo:
        yield demo


def test_machines_of_a_scaled_service_are_routed_to_without_a_restart(project: Demo, tmp_path: Path) -> None:
    """With flysim on the host, and the machines in the project."""
    (tmp_path / "sample_app").mkdir()
    options = ("--compose", str(ROOT / "docker-compose.yml"), "--free-ports")
    env = {**project.variables, "COMPOSE_PROJECT_NAME": project.project}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with start_up(tmp_path, None, *options) as up:
            before = {each["id"] for each in up.ready["machines"]}
            assert before == {AMS, DFW, DFW_2}
            project.compose("up", "-d", "--no-recreate", "--scale", "dfw=5")
            scaled = time.monotonic()
            served: set[str] = set()
            with httpx.Client(base_url=up.edge("dfw"), timeout=5) as client:
                while len(served) < 7 and time.monotonic() - scaled < 20:
                    page = client.get("/").text
                    served.add(page.partition('data-page-machine="')[2].partition('"')[0])
            assert len(served - before) == 5
            project.compose("up", "-d", "--no-recreate", "--scale", "dfw=0")
            up.process.send_signal(signal.SIGINT)
            assert up.process.wait(30) == 0
    assert project.inspect("dfw-1")["State"]["Running"]

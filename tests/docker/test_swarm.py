"""A fleet on a real Docker Swarm with one node: deployment, requests, external scaling, failures and removal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from websockets.sync.client import connect

from simulator.machines.backend import Exit
from simulator.machines.swarm.task import UNKNOWN_EXIT
from simulator.retry import poll_blocking
from tests.docker.swarm import IMAGE, docker, leftovers, remove_stack
from tests.e2e.command import DEADLINE_SECONDS, FLYSIM, ROOT, Up, flysim, start_up, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.usefixtures("swarm")]

AMS = "d8dd626f379508"
TOML = """
version = 1
[edges]
ams = 0
dfw = 0
[control]
port = 0
[apps.chat]
image = "IMAGE"
env = { APP_ODD = "$HOME {{x}} {machine_id}" }
[[apps.chat.machines]]
region = "ams"
id = "d8dd626f379508"
[[apps.chat.machines]]
region = "dfw"
count = 2
"""
SWARM_SECONDS = 60.0
"""Swarm waits 2 s before it stops a task, and may remove networks much later."""


def write_config(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TOML.replace("IMAGE", IMAGE)
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "flysim.toml"
    path.write_text(text)
    return path


@contextmanager
def fleet(folder: Path, backend: str = "swarm") -> Iterator[Up]:
    """`flysim up` on the swarm, ended by Ctrl-C after the block."""
    with start_up(folder, folder / "flysim.toml", "--backend", backend) as up:
        try:
            yield up
        finally:
            up.process.send_signal(signal.SIGINT)
            exit_code = up.process.wait(SWARM_SECONDS)
        assert exit_code == 0, up.log.read_text()


def stack_of(up: Up) -> str:
    """The stack of this flysim, found by the label with its process id."""
    owner = f"process {up.process.pid} on "
    for service in docker("service", "ls", "--quiet").split():
        try:
            spec = json.loads(docker("service", "inspect", service))[0]["Spec"]
        except AssertionError:  # Another test has removed it in the meantime.
            continue
        if spec["Labels"].get("flysim.run", "").startswith(owner):
            return str(spec["Labels"]["com.docker.stack.namespace"])
    raise AssertionError(f"no stack of flysim {up.process.pid}")


def machines(up: Up) -> dict[str, dict[str, Any]]:
    """Name -> machine."""
    found = httpx.get(f"{up.ready['control']}/v1/apps/chat/machines").json()
    return {machine["name"]: machine for machine in found}


def are_healthy(up: Up) -> bool:
    found = httpx.get(f"{up.ready['control']}/_flysim/status").json()["machines"]
    return len(found) == 3 and all(each["healthy"] for each in found)


def state(up: Up, name: str) -> str:
    return str(machines(up).get(name, {}).get("state", "gone"))


def ask(up: Up, path: str, edge: str = "ams") -> httpx.Response:
    return httpx.get(up.edge(edge) + path, timeout=DEADLINE_SECONDS)


def eventually(condition: Any, what: str, up: Up) -> None:
    is_met = poll_blocking(lambda: condition() or None, timeout_seconds=SWARM_SECONDS, interval_seconds=0.05)
    assert is_met, f"not within {SWARM_SECONDS:g} s: {what}\n{up.log.read_text()}"


def test_a_fleet_on_a_swarm_replays_across_regions_and_is_removed(tmp_path: Path) -> None:
    write_config(tmp_path)
    with fleet(tmp_path) as up:
        stack = stack_of(up)
        ids = {name: machine["id"] for name, machine in machines(up).items()}
        assert list(ids) == ["ams-1", "dfw-1", "dfw-2"]
        for name, machine_id in ids.items():
            response = ask(up, f"/?to={machine_id}").json()
            assert response["id"] == response["host"] == machine_id, "F-7.3: the hostname is the machine's id"
            assert response["region"] == name[:3]
            assert response["env"]["APP_ODD"] == f"$HOME {{{{x}}}} {machine_id}"
            assert response["env"]["FLY_PRIVATE_IP"] == machines(up)[name]["private_ip"]
            with connect(f"{up.edge('ams').replace('http', 'ws')}/ws?to={machine_id}") as websocket:
                assert websocket.recv() == machine_id
                websocket.send("hello")
                assert websocket.recv() == "hello"
        names = {name: ask(up, f"/names/{name}").json()["addresses"] for name in _fly_names()}
        assert [len(found) for found in names.values()] == [3, 2, 1, 3]
        up.wait_for_line(f"{AMS} listens")
    assert leftovers(stack) == []


def _fly_names() -> tuple[str, ...]:
    return "chat.internal", "dfw.chat.internal", f"{AMS}.vm.chat.internal", "app.process.chat.internal"


STOPPED = re.compile(rf"ams-1 is stopped: ({Exit(-2).reason}|{UNKNOWN_EXIT})\n")


def test_a_machine_with_its_own_service_can_be_stopped_started_killed_and_cloned(tmp_path: Path) -> None:
    """F-5.37. A machine that shares its service cannot."""
    write_config(tmp_path)
    with fleet(tmp_path) as up:
        assert up.flysim("machine", "stop", "ams-1").returncode == 0
        assert state(up, "ams-1") == "stopped"
        # Swarm deletes a task that it has stopped, sometimes before it can be polled.
        wait_for(lambda: STOPPED.search(up.log.read_text()), "the stop of ams-1", up.log)
        assert up.flysim("machine", "start", "ams-1").returncode == 0
        assert ask(up, f"/?to={AMS}").json()["id"] == AMS
        assert up.flysim("machine", "kill", "ams-1").returncode == 0
        up.wait_for_line(f"ams-1 is stopped: {Exit(-9).reason}")
        assert up.flysim("machine", "start", "ams-1").returncode == 0

        assert up.flysim("machine", "clone", "ams-1").returncode == 0
        clone = machines(up)["ams-2"]["id"]
        assert ask(up, f"/?to={clone}").json()["id"] == clone
        assert up.flysim("machine", "destroy", "ams-2").returncode == 0

        rejected = up.flysim("machine", "stop", "dfw-1")
        assert rejected.returncode == 2
        assert "it shares a Swarm service with other machines" in rejected.stderr
        suspended = up.flysim("machine", "suspend", "ams-1")
        assert suspended.returncode == 2
        assert "Swarm cannot pause a task" in suspended.stderr
        eventually(lambda: (state(up, "ams-1"), state(up, "dfw-1")) == ("started",) * 2, "both as before", up)
        assert ask(up, f"/?to={AMS}").json()["id"] == AMS


def test_external_changes_of_the_stack_are_followed(tmp_path: Path) -> None:
    write_config(tmp_path)
    with fleet(tmp_path) as up:
        stack = stack_of(up)
        dallas, amsterdam = f"{stack}_chat-dfw-1-to-2", f"{stack}_chat-ams-1"

        docker("service", "scale", "--detach", f"{dallas}=4")
        eventually(lambda: state(up, "dfw-3") == state(up, "dfw-4") == "started", "the new machines", up)
        newest = machines(up)["dfw-4"]["id"]
        eventually(lambda: ask(up, f"/?to={newest}").status_code == 200, "the newest to be healthy", up)
        assert ask(up, f"/?to={newest}").json()["id"] == newest

        container = docker("ps", "--quiet", "--filter", f"label=com.docker.swarm.service.name={amsterdam}")
        docker("kill", container)
        up.wait_for_line(f"ams-1 is stopped: {Exit(-9).reason}")
        assert ask(up, "/").json()["region"] == "dfw"

        docker("service", "scale", "--detach", f"{dallas}=3")
        eventually(lambda: len(machines(up)) == 4, "the removal of one machine in Dallas", up)
        docker("service", "rm", amsterdam)
        eventually(lambda: state(up, "ams-1") == "gone", "the removal of Amsterdam", up)
        assert ask(up, "/").json()["region"] == "dfw"


def test_the_last_log_lines_come_before_the_exit(tmp_path: Path) -> None:
    write_config(tmp_path)
    with fleet(tmp_path) as up:
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://{up.ready['machines'][0]['address']}/exit/3", timeout=DEADLINE_SECONDS)
        up.wait_for_line(f"ams-1 is stopped: {Exit(3).reason}")
        assert "asked to exit" in up.log.read_text().partition("ams-1 is stopped")[0]


def test_an_existing_stack_is_adopted_and_not_removed(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with deployed_by_hand(config) as name:
        with fleet(tmp_path, f"swarm:{name}") as up:
            eventually(lambda: are_healthy(up), "all machines", up)
            assert ask(up, f"/?to={machines(up)['dfw-2']['id']}").json()["region"] == "dfw"
        assert len(leftovers(name)) == 2 + 3 + 1


@contextmanager
def deployed_by_hand(config: Path, text: str = "") -> Iterator[str]:
    """The name of a new stack, which is removed after the block."""
    name = f"hand-{config.parent.name[-8:].strip('_')}-{time.time_ns() % 10**6}"
    text = text or flysim("stack", "-c", str(config)).stdout
    docker("stack", "deploy", "--resolve-image", "never", "--compose-file", "-", name, stdin=text)
    try:
        yield name
    finally:
        remove_stack(name)


def services_of(stack: str) -> dict[str, dict[str, Any]]:
    """Name within the stack -> spec."""
    listed = docker("service", "ls", "--quiet", "--filter", f"label=com.docker.stack.namespace={stack}")
    found = json.loads(docker("service", "inspect", *listed.split()))
    return {each["Spec"]["Name"].removeprefix(f"{stack}_"): each["Spec"] for each in found}


def test_additions_to_an_existing_stack_are_removed_and_the_stack_stays(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    with deployed_by_hand(config) as name:
        docker("service", "scale", "--detach", f"{name}_chat-ams-1=0")
        wait_for(lambda: len(leftovers(name)) == 2 + 2 + 1, "the removal of Amsterdam")
        before = set(leftovers(name))
        with fleet(tmp_path, f"swarm:{name}") as up:
            assert state(up, "ams-1") == "stopped"
            assert up.flysim("machine", "start", "ams-1").returncode == 0
            assert services_of(name).keys() == {"chat-ams-1", "chat-dfw-1-to-2"}
            clone = clone_of_amsterdam(up)
            own = services_of(name)[f"flysim-{clone}"]["Labels"]
            assert own["flysim.added"].startswith(f"process {up.process.pid} on ")
            assert not psutil.Process(up.process.pid).children(recursive=True), "no cleanup process"
        assert before < set(leftovers(name))
        assert len(leftovers(name)) == 2 + 3 + 1
        assert services_of(name)["chat-ams-1"]["Mode"] == {"Replicated": {"Replicas": 1}}

        with start_up(tmp_path, config, "--backend", f"swarm:{name}") as up:
            clone = clone_of_amsterdam(up)
            up.process.kill()
            up.process.wait()
        with fleet(tmp_path, f"swarm:{name}") as up:
            assert machines(up)["ams-2"]["id"] == clone
            assert up.flysim("machine", "destroy", "ams-1").returncode == 0
            assert state(up, "ams-1") == "gone"
        assert services_of(name).keys() == {"chat-ams-1", "chat-dfw-1-to-2", f"flysim-{clone}"}


def test_a_machine_missing_from_a_hand_written_stack_can_be_started(tmp_path: Path) -> None:
    """Its deployment adds a network, which is removed as well."""
    config = write_config(tmp_path)
    written = yaml.safe_load(flysim("stack", "-c", str(config)).stdout.replace("default:", "backend:"))
    del written["services"]["chat-ams-1"]
    with deployed_by_hand(config, yaml.safe_dump(written)) as name:
        wait_for(lambda: len(leftovers(name)) == 1 + 2 + 1, "Dallas")
        before = leftovers(name)
        with fleet(tmp_path, f"swarm:{name}") as up:
            assert up.flysim("machine", "start", "ams-1").returncode == 0
            assert ask(up, f"/?to={AMS}").json()["id"] == AMS
            assert len(leftovers(name)) == len(before) + 3
            assert up.flysim("machine", "kill", "ams-1").returncode == 0
            assert up.flysim("machine", "start", "ams-1").returncode == 0
        assert leftovers(name) == before


def clone_of_amsterdam(up: Up) -> str:
    assert up.flysim("machine", "clone", "ams-1").returncode == 0
    machine_id = str(machines(up)["ams-2"]["id"])
    assert ask(up, f"/?to={machine_id}").json()["id"] == machine_id
    return machine_id


def test_the_stack_is_removed_when_flysim_is_killed(tmp_path: Path) -> None:
    write_config(tmp_path)
    with start_up(tmp_path, tmp_path / "flysim.toml", "--backend", "swarm") as up:
        stack = stack_of(up)
        up.process.kill()
        eventually(lambda: not leftovers(stack), "the removal by the cleanup process", up)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_deployment_is_removed(tmp_path: Path, number: signal.Signals) -> None:
    config = write_config(tmp_path, ("count = 2", "count = 5"))
    process = subprocess.Popen(
        [*FLYSIM, "up", "-c", str(config), "--backend", "swarm"], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    wait_for(lambda: _stacks_of(process.pid), "the first service")
    own = _stacks_of(process.pid)
    process.send_signal(number)
    output, _ = process.communicate(timeout=SWARM_SECONDS)
    assert "Traceback" not in output
    wait_for(lambda: not any(leftovers(each) for each in own), "the removal of the stack")


def _stacks_of(pid: int) -> set[str]:
    wanted = ("--format", "{{.Name}}", "--filter", "label=flysim.run")
    services = docker("service", "ls", *wanted).split()
    own = set()
    for service in services:
        found = subprocess.run(
            ["docker", "service", "inspect", service], capture_output=True, text=True, check=False
        )
        if f"process {pid} on " in found.stdout:
            own.add(service.partition("_")[0])
    return own


FLY = 'primary_region = "ams"\n[processes]\napp = "{command}"\n[http_service]\ninternal_port = 8080\n'
OWN_COMMAND = ("[apps.chat]", '[apps.chat]\nfly_toml = "fly.toml"')


@pytest.mark.parametrize(
    ("change", "command", "message"),
    [
        (
            (IMAGE, "flysim-no:1"),
            "true",
            r'needs the image "flysim-no:1", which the Docker engine does not have.*\n.*docker build',
        ),
        (OWN_COMMAND, "nosuch", rf"{Exit(127)} .*\n  \| .*exec nosuch failed"),
        (OWN_COMMAND, "sh -c 'echo oh; exit 4'", rf"{Exit(4)} .*\n  \| oh"),
    ],
    ids=["image", "program", "exit"],
)
def test_a_fleet_that_cannot_start_is_reported_and_removed(
    tmp_path: Path, change: tuple[str, str], command: str, message: str
) -> None:
    config = write_config(tmp_path, change)
    (tmp_path / "fly.toml").write_text(FLY.format(command=command))
    command_line = [*FLYSIM, "up", "-c", str(config), "--backend", "swarm"]
    process = subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True)
    _, stderr = process.communicate(timeout=SWARM_SECONDS)
    assert process.returncode == 3, stderr
    assert re.search(message, stderr), stderr
    assert not _stacks_of(process.pid)


def test_a_stack_without_machines_and_a_missing_one_are_rejected(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    absent = flysim("up", "-c", config, "--backend", "swarm:nowhere")
    assert absent.returncode == 3
    assert "stack nowhere not found in this swarm" in absent.stderr
    assert "flysim stack | docker stack deploy --compose-file - nowhere" in absent.stderr
    name = f"other-{time.time_ns() % 10**6}"
    other = f"version: '3.8'\nservices: {{idle: {{image: '{IMAGE}', deploy: {{replicas: 0, endpoint_mode: dnsrr}}}}}}\n"
    docker("stack", "deploy", "--resolve-image", "never", "--compose-file", "-", name, stdin=other)
    try:
        rejected = flysim("up", "-c", config, "--backend", f"swarm:{name}")
        assert rejected.returncode == 3
        assert f"none of its services has the label fly.region ({name}_idle)" in rejected.stderr
    finally:
        remove_stack(name)


def test_scenarios_run_on_a_swarm_one_after_the_other(tmp_path: Path) -> None:
    write_config(tmp_path)
    (tmp_path / "first.yaml").write_text(
        "version: 1\nname: A stopped machine gets no requests\nconfig: flysim.toml\nsteps:\n"
        "  - machine: {stop: ams-1}\n"
        "  - request: GET /\n    edge: ams\n    expect: {status: 200}\n"
    )
    (tmp_path / "second.yaml").write_text(
        "version: 1\nname: It runs again in the next scenario\nconfig: flysim.toml\nsteps:\n"
        "  - request: GET /?to={dfw-2.id}\n    edge: ams\n"
        "    expect: {status: 200, served_by: dfw-2, path: [ams-1, dfw-2]}\n"
    )
    result = subprocess.run(
        [*FLYSIM, "run", "--backend", "swarm", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed, 0 failed" in result.stdout

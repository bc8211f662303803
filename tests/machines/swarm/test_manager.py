"""Swarm manager: engines that cannot deploy, addresses of nodes, and updates of a service."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.errors import EnvironmentFault, InputError
from simulator.machines import backend_name
from simulator.machines.swarm.manager import Manager, check_swarm, set_replicas
from tests.e2e.command import flysim
from tests.machines.swarm.recorded_engine import NODE, recorded

INACTIVE = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
}
WORKER = {
    "NodeID": "nt2uminbxgw0zunu13h8a4mje",
    "NodeAddr": "10.199.0.2",
    "LocalNodeState": "active",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": [{"NodeID": "u9jbqetoah0hswp4sqmnuplcl", "Addr": "10.199.0.1:2377"}],
}


@pytest.mark.parametrize(
    ("swarm", "problem", "hint"),
    [
        (INACTIVE, "is not part of a swarm: its node is inactive", "docker swarm init"),
        ({**INACTIVE, "LocalNodeState": "locked"}, "its node is locked", "docker swarm"),
        (WORKER, "is a worker of its swarm", r"set DOCKER_HOST to a manager \(10.199.0.1:2377\)"),
    ],
    ids=["no swarm", "locked", "worker"],
)
def test_an_engine_that_cannot_deploy_is_reported_with_a_hint(
    swarm: dict[str, Any], problem: str, hint: str
) -> None:
    with pytest.raises(EnvironmentFault, match=rf"{problem}.*\n  hint: .*{hint}"):
        check_swarm({"Swarm": swarm})


def test_up_without_an_engine_fails_with_a_hint(tmp_path: Any) -> None:
    (tmp_path / "flysim.toml").write_text(
        "version = 1\n[edges]\nams = 0\n[control]\nport = 0\n"
        '[apps.chat]\nimage = "chat:1"\nmachines = [{ region = "ams" }]\n'
    )
    result = flysim("up", "--backend", "swarm", cwd=tmp_path, env={"DOCKER_HOST": f"unix://{tmp_path}/none"})
    assert result.returncode == 3
    assert "cannot connect to a Docker engine" in result.stderr
    assert "hint:" in result.stderr
    assert "Traceback" not in result.stderr


class RemoteEngine:
    """The part of an engine on another computer that a manager uses."""

    api = None
    published_host = "manager.example.com"


@pytest.mark.parametrize(
    ("node", "status", "manager", "host"),
    [
        (NODE, "127.0.0.1", None, "manager.example.com"),
        ("other", "10.1.2.3", None, "10.1.2.3"),
        ("other", "0.0.0.0", "10.1.2.4:2377", "10.1.2.4"),
        ("other", "0.0.0.0", "[fd00::4]:2377", "fd00::4"),
        ("other", "127.0.0.1", None, "manager.example.com"),
    ],
)
def test_a_node_is_reached_at_its_advertised_address(
    node: str, status: str, manager: str | None, host: str
) -> None:
    """Except the engine's own node, which may advertise a loopback address: it is reached at the engine's host."""
    node_attrs = recorded("nodes")[0] | {"ID": node, "Status": {"State": "ready", "Addr": status}}
    node_attrs["ManagerStatus"] = {"Addr": manager} if manager else {}
    swarm_manager = Manager(RemoteEngine(), {"Swarm": {"NodeID": NODE, "Nodes": 2}})  # type: ignore[arg-type]
    assert swarm_manager._address(node_attrs) == host


def test_a_forced_update_keeps_the_rest_of_the_spec() -> None:
    spec = {
        "Name": "x",
        "TaskTemplate": {"ForceUpdate": 3, "Runtime": "container"},
        "Mode": {"Replicated": {"Replicas": 0}},
    }
    set_replicas(1, force=True)(spec)
    assert spec == {
        "Name": "x",
        "TaskTemplate": {"ForceUpdate": 4, "Runtime": "container"},
        "Mode": {"Replicated": {"Replicas": 1}},
    }


@pytest.mark.parametrize("name", ["swarms", "swarm:", "process:x", ""])
def test_an_unknown_backend_is_rejected(name: str) -> None:
    with pytest.raises(InputError, match=r"no backend.*\n.*swarm:NAME"):
        backend_name(name)


def test_an_existing_stack_is_named_after_the_backend() -> None:
    assert backend_name("swarm:fleet") == backend_name("swarm") == "swarm"

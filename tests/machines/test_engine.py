"""Error responses and lost connections of the Docker engine, mapped to faults with its own error message."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import Engine, EngineError
from simulator.machines.swarm.manager import Manager
from tests.machines.fake_engine import Truncated, run_fake_engine, run_rejecting_engine
from tests.machines.swarm.recorded_engine import SINGLE, recorded

IN_SWARM = {"Swarm": {"NodeID": "n1", "Nodes": 1}}


async def test_an_error_response_keeps_its_message_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_rejecting_engine(tmp_path / "s", 409, "container is not paused") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        with pytest.raises(
            EngineError, match=r"^error response from the Docker engine: container is not paused$"
        ) as raised:
            await engine.call(engine.api.unpause, "x")
        assert (raised.value.status, raised.value.exit_status) == (409, 3)
        engine.close()


@pytest.mark.parametrize(
    "body", [Truncated(b'[{"Id": "c'), Truncated(b"[]")], ids=["inside a value", "before the end of the body"]
)
async def test_an_incomplete_response_is_a_connection_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with run_fake_engine(tmp_path / "s", {"GET /containers/json": (200, body)}, (404, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        with pytest.raises(
            EnvironmentFault, match=r"connection to the Docker engine at .* failed: .*\n  hint: .*docker info"
        ):
            await engine.call(engine.api.containers)
        engine.close()


async def test_requests_to_a_silent_manager_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_fake_engine(tmp_path / "s", {"tasks": (200, [])}, (200, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        engine.api.timeout = 0.2
        server.blocked = {each: threading.Event() for each in ("tasks", "service")}
        manager = Manager(engine, IN_SWARM)
        async with asyncio.timeout(5):
            with pytest.raises(EnvironmentFault, match=r"connection to the Docker engine at .* failed"):
                await manager.fetch_tasks("fleet")
            with pytest.raises(EnvironmentFault, match=r"connection to the Docker engine at .* failed"):
                await manager.update_service("service", lambda spec: None)
            await manager.close()
        for each in server.blocked.values():
            each.set()


async def test_tasks_are_named_by_their_services_which_are_fetched_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = recorded("fleet")
    single = next(each["ServiceID"] for each in tasks if each["Spec"]["ContainerSpec"]["Hostname"] == SINGLE)
    services = [{"ID": single, "Spec": {"Name": "fleet_streams-ams-1"}}]  # The other has been removed.
    responses = {"tasks": [(200, tasks), (200, tasks[::-1])], "nodes": (200, recorded("nodes"))}
    with run_fake_engine(tmp_path / "s", {**responses, "services": (200, services)}, (404, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        manager = Manager(await Engine.connect(), IN_SWARM)
        seen = await manager.fetch_tasks("fleet")
        assert seen is not None
        assert await manager.fetch_tasks("fleet") == seen
        await manager.close()
    assert seen[SINGLE].display_name == "task 1 of service fleet_streams-ams-1"
    removed = {each.service_id for each in seen.values()} - {single}
    assert removed == {each.service_name for each in seen.values()} - {"fleet_streams-ams-1"}
    assert sum(each.startswith("GET /services?") for each in server.requests) == 1


@pytest.mark.filterwarnings("ignore:unclosed <socket")  # by the Docker SDK, if it cannot connect
async def test_a_socket_without_permission_is_reported_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_rejecting_engine(tmp_path / "s") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        (await Engine.connect()).close()
        with as_user_without_access(tmp_path / "s"), pytest.raises(EnvironmentFault) as raised:
            await Engine.connect()

    assert str(raised.value) == (
        f"permission denied: this user may not access the Docker engine at {server.host}\n"
        "  hint: add the user to the group docker (equivalent to root access), "
        "or run the machines as processes: --backend process, without --compose"
    )


@contextmanager
def as_user_without_access(socket: Path) -> Iterator[None]:
    """Run as a user without access to the socket; root has access to every socket."""
    socket.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(("status", "is_ignored"), [(404, True), (500, False)])
async def test_removing_a_service_that_does_not_exist_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, is_ignored: bool
) -> None:
    with run_rejecting_engine(tmp_path / "s", status, "the error of the engine") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        manager = Manager(await Engine.connect(), IN_SWARM)
        if is_ignored:
            await manager.remove_service("x")
            await manager.kill("x")
        else:
            with pytest.raises(EnvironmentFault, match=r"the error of the engine\n  hint: .*docker node ls"):
                await manager.remove_service("x")
            with pytest.raises(EnvironmentFault, match="the error of the engine"):
                await manager.kill("x")
        await manager.close()

"""What a Docker engine refuses is told in its own words, and never as a fault of flysim."""

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
from tests.machines.fake_engine import Broken, refusing_engine, small_engine
from tests.machines.swarm.recorded_engine import SINGLE, recorded

IN_SWARM = {"Swarm": {"NodeID": "n1", "Nodes": 1}}


async def test_a_refusal_has_the_engines_words_and_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_engine(tmp_path / "s", 409, "container is not paused") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        with pytest.raises(
            EngineError, match=r"^the Docker engine refuses: container is not paused$"
        ) as told:
            await engine.call(engine.api.unpause, "x")
        assert (told.value.status, told.value.exit_status) == (409, 3)
        engine.close()


@pytest.mark.parametrize("said", [Broken(b'[{"Id": "c'), Broken(b"[]")], ids=["in a word", "before its end"])
async def test_an_answer_that_breaks_off_is_that_of_an_engine_that_has_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    with small_engine(tmp_path / "s", {"GET /containers/json": (200, said)}, (404, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        with pytest.raises(EnvironmentFault, match=r"does not answer any more: .*\n  hint: .*docker info"):
            await engine.call(engine.api.containers)
        engine.close()


async def test_a_manager_that_falls_silent_is_waited_for_no_longer_than_any_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_engine(tmp_path / "s", {"tasks": (200, [])}, (200, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        engine = await Engine.connect()
        engine.api.timeout = 0.2
        server.held = {each: threading.Event() for each in ("tasks", "service")}
        manager = Manager(engine, IN_SWARM)
        async with asyncio.timeout(5):
            with pytest.raises(EnvironmentFault, match="does not answer any more"):
                await manager.fetch_tasks("fleet")
            with pytest.raises(EnvironmentFault, match="does not answer any more"):
                await manager.update_service("service", lambda spec: None)
            await manager.close()
        for each in server.held.values():
            each.set()


async def test_tasks_are_named_by_their_services_which_are_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = recorded("fleet")
    single = next(each["ServiceID"] for each in tasks if each["Spec"]["ContainerSpec"]["Hostname"] == SINGLE)
    services = [{"ID": single, "Spec": {"Name": "fleet_streams-ams-1"}}]  # The other is gone already.
    told = {"tasks": [(200, tasks), (200, tasks[::-1])], "nodes": (200, recorded("nodes"))}
    with small_engine(tmp_path / "s", {**told, "services": (200, services)}, (404, {})) as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        manager = Manager(await Engine.connect(), IN_SWARM)
        seen = await manager.fetch_tasks("fleet")
        assert seen is not None
        assert await manager.fetch_tasks("fleet") == seen
        await manager.close()
    assert seen[SINGLE].display_name == "task 1 of service fleet_streams-ams-1"
    gone = {each.service_id for each in seen.values()} - {single}
    assert gone == {each.service_name for each in seen.values()} - {"fleet_streams-ams-1"}
    assert sum(each.startswith("GET /services?") for each in server.asked) == 1


async def test_a_socket_that_may_not_be_used_is_told_with_whom_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing_engine(tmp_path / "s") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        (await Engine.connect()).close()
        with as_nobody(tmp_path / "s"), pytest.raises(EnvironmentFault) as told:
            await Engine.connect()

    assert str(told.value) == (
        f"the Docker engine at {server.host} may not be used by this user\n"
        "  hint: ask for membership in the group docker (it is as good as root), "
        "or run the machines as processes: --backend process, and no --compose"
    )


@contextmanager
def as_nobody(socket: Path) -> Iterator[None]:
    """As a user who may not use that socket; root may use all."""
    socket.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(("status", "is_let"), [(404, True), (500, False)])
async def test_a_service_that_is_gone_needs_no_removal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, is_let: bool
) -> None:
    with refusing_engine(tmp_path / "s", status, "the words of the engine") as server:
        monkeypatch.setenv("DOCKER_HOST", server.host)
        manager = Manager(await Engine.connect(), IN_SWARM)
        if is_let:
            await manager.remove_service("x")
            await manager.kill("x")
        else:
            with pytest.raises(EnvironmentFault, match=r"the words of the engine\n  hint: .*docker node ls"):
                await manager.remove_service("x")
            with pytest.raises(EnvironmentFault, match="the words of the engine"):
                await manager.kill("x")
        await manager.close()

"""Fake simulator behind the real control API. Its machines only change state; bus, journal and clock are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

from simulator.clock import Clock
from simulator.config import AppConfig, Check, Config, MachineSpec
from simulator.dashboard import Controls, ControlServer, Streams, make_app
from simulator.errors import InputError
from simulator.events import (
    Bus,
    ExchangeAnswered,
    ExchangeFinished,
    FleetChanged,
    MachineLogged,
    MachineStateChanged,
)
from simulator.journal import Journal
from simulator.results import Finding, Fix
from simulator.retry import poll
from simulator.routing.model import App, Fleet, Machine, MachineState
from simulator.routing.trace import Cause, Hop, Outcome, Trace

AMS, DFW, OTHER = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"

_SPECS = (
    MachineSpec(AMS, "ams-1", "chat", "ams", env={"LEVEL": "debug"}, checks=(Check("http", path="/up"),)),
    MachineSpec(DFW, "dfw-1", "chat", "dfw"),
    MachineSpec(OTHER, "ams-1", "shop", "ams"),
)


def _machine(spec: MachineSpec) -> Machine:
    return Machine(spec.id, spec.name, spec.app, spec.region, port=41001, private_ip="fdaa::1")


class FakeSimulator:
    """Implements `Controls`. The second reset hangs until `stuck` is set."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.journal = Journal(self.bus)
        self.clock = Clock()
        self.edges: Mapping[str, str] = {"ams": "http://127.0.0.1:8080"}
        self.specs = {spec.id: spec for spec in _SPECS}
        apps = tuple(
            AppConfig(App(name), tuple(spec for spec in _SPECS if spec.app == name))
            for name in ("chat", "shop")
        )
        self.config = Config(Path(), {"ams": 8080}, apps)
        self.fleet = Fleet.of((app.app for app in apps), map(_machine, _SPECS))
        self.resets = 0
        self.stuck = asyncio.Event()

    def ready(self) -> dict[str, Any]:
        return {"edges": dict(self.edges), "control": "http://127.0.0.1:4280", "machines": []}

    def findings(self) -> tuple[Finding, ...]:
        return (Finding("stale-cookie", "dfw-1 is destroyed", Fix("clear it"), "an id"),)

    def health_problems(self) -> dict[str, str]:
        return {machine.id: "nothing listens" for machine in self.fleet.machines if not machine.healthy}

    def spec_of(self, machine_id: str) -> MachineSpec | None:
        return self.specs.get(machine_id)

    async def start_machine(self, machine_id: str) -> None:
        state = self._machine(machine_id).state
        if state is MachineState.STOPPING:
            raise InputError(f"cannot start machine {machine_id}: it is {state}")
        self.set_state(machine_id, MachineState.STARTING)
        self.set_state(machine_id, MachineState.STARTED)

    async def stop_machine(self, machine_id: str) -> None:
        self.set_state(machine_id, MachineState.STOPPED)

    async def kill_machine(self, machine_id: str) -> None:
        self.set_state(machine_id, MachineState.STOPPED)

    async def suspend_machine(self, machine_id: str) -> None:
        self.set_state(machine_id, MachineState.SUSPENDED)

    async def destroy_machine(self, machine_id: str) -> None:
        self.set_state(machine_id, MachineState.DESTROYED)
        left = tuple(machine for machine in self.fleet.machines if machine.id != machine_id)
        self.fleet = replace(self.fleet, machines=left)
        self.bus.publish(FleetChanged(self.clock.now(), self.fleet))

    async def cordon(self, machine_id: str) -> None:
        self._put(replace(self._machine(machine_id), cordoned=True))

    async def uncordon(self, machine_id: str) -> None:
        self._put(replace(self._machine(machine_id), cordoned=False))

    async def clone_machine(self, machine_id: str, *, region: str | None) -> Machine:
        source = self._machine(machine_id)
        clone = replace(source, id="0123456789abcd", name="new-1", region=region or source.region)
        self._put(clone)
        return clone

    async def reset(self) -> None:
        self.resets += 1
        if self.resets > 1:
            await self.stuck.wait()

    def set_state(self, machine_id: str, state: MachineState) -> None:
        before = self._machine(machine_id)
        self._put(replace(before, state=state))
        at = self.clock.now()
        self.bus.publish(
            MachineStateChanged(at, machine_id, before.name, before.app, before.region, before.state, state)
        )

    def log(self, machine_id: str, line: str) -> None:
        machine = self._machine(machine_id)
        about = (machine_id, machine.name, machine.app, machine.region)
        self.bus.publish(MachineLogged(self.clock.now(), *about, stream="stdout", line=line))

    def exchange(self, request_id: str, *, finished: bool = True) -> Trace:
        trace = make_trace(request_id)
        self.bus.publish(ExchangeAnswered(self.clock.now(), trace))
        if finished:
            self.bus.publish(ExchangeFinished(self.clock.now(), trace))
        return trace

    def _machine(self, machine_id: str) -> Machine:
        machine = self.fleet.find(machine_id)
        assert machine is not None
        return machine

    def _put(self, machine: Machine) -> None:
        self.fleet = self.fleet.with_machine(machine)
        self.bus.publish(FleetChanged(self.clock.now(), self.fleet))


def make_trace(request_id: str) -> Trace:
    ams = Hop(AMS, "ams-1", "chat", "ams", Cause.ROUTED, 1.0, 1.1, status=307, replay=f"instance={DFW}")
    dfw = Hop(
        DFW, "dfw-1", "chat", "dfw", Cause.REPLAY, 1.1, 1.2, status=200, sent=(("fly-replay-src", "…"),)
    )
    return Trace(
        request_id=request_id,
        edge="ams",
        app="chat",
        method="GET",
        target="/",
        host="localhost",
        scheme="http",
        started_at=1.0,
        hops=(ams, dfw),
        outcome=Outcome.RELAYED,
        status=200,
        answered_at=1.2,
    )


@dataclass
class Harness:
    simulator: FakeSimulator
    server: ControlServer
    streams: Streams
    client: httpx.AsyncClient
    port: int
    stopped: bool = field(default=False)

    async def stop(self) -> None:
        self.stopped = True
        await self.server.stop()


@asynccontextmanager
async def open_harness(
    *,
    max_queued: int = 1_000,
    heartbeat_seconds: float = 15.0,
    hosts: Sequence[str] = ("127.0.0.1",),
    token: str | None = None,
) -> AsyncIterator[Harness]:
    simulator = FakeSimulator()
    controls: Controls = simulator
    streams = Streams(simulator.bus, max_queued=max_queued, heartbeat_seconds=heartbeat_seconds)
    server = ControlServer(make_app(controls, streams=streams, token=token), hosts)
    port = await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
        harness = Harness(simulator, server, streams, client, port)
        try:
            yield harness
        finally:
            await harness.stop()


async def until_open(streams: Streams, count: int) -> None:
    """Returns when `count` streams are open."""
    await until(lambda: len(streams) == count)


async def until(condition: Callable[[], bool]) -> None:
    """Polls the condition, because there is no event to wait for."""
    assert await poll(lambda: condition() or None, timeout_seconds=5, interval_seconds=0.005)

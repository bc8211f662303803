"""What the contract suite needs of each backend: the backend, and machines on it that do as they are told."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

from simulator.config.model import MachineSpec
from simulator.machines.backend import Backend, Exit, Placement
from simulator.machines.docker import DockerBackend
from simulator.machines.docker.image.images import PYTHON_IMAGE
from simulator.machines.fake import FakeApp, FakeBackend
from simulator.machines.port import free_port
from simulator.machines.processes.backend import ProcessBackend
from simulator.routing.model import App

APP = Path(__file__).parent / "app.py"


INTERNAL_PORT = free_port()
"""What listens on 8080 of every address of this computer would be in the way of all machines."""


class Harness(Protocol):
    """One backend, and how a behaviour becomes a command there."""

    backend: Backend

    def command(self, app: FakeApp) -> tuple[str, ...]: ...

    def spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec: ...


class FakeHarness:
    def __init__(self) -> None:
        self.fake = FakeBackend()
        self.backend: Backend = self.fake

    def command(self, app: FakeApp) -> tuple[str, ...]:
        name = f"app-{len(self.fake.apps)}"
        self.fake.apps[name] = app
        return (name, "{host}", "{port}")

    def spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec:
        return machine_spec(number, command, **options)


class ProcessHarness:
    def __init__(self) -> None:
        self.backend: Backend = ProcessBackend()

    def command(self, app: FakeApp) -> tuple[str, ...]:
        return (sys.executable, "-I", "-S", str(APP), "{host}", "{port}", json.dumps(asdict(app)))

    def spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec:
        return machine_spec(number, command, **options)


class DockerHarness:
    def __init__(self) -> None:
        self.backend: Backend = DockerBackend([App("chat")])

    def command(self, app: FakeApp) -> tuple[str, ...]:
        return ("{python}", APP.name, "{host}", "{port}", json.dumps(asdict(app)))

    def spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec:
        """A command that is not Python's is one of an image that has no such program."""
        spec = replace(machine_spec(number, command, **options), cwd=APP.parent)
        return spec if command[0] == "{python}" else replace(spec, image=PYTHON_IMAGE, image_command=command)


@dataclass
class Recorder:
    """An observer that remembers what it is told, in order."""

    told: list[tuple[str, str | Exit]] = field(default_factory=list)

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        self.told.append((machine_id, line))

    def machine_exited(self, machine_id: str, ending: Exit) -> None:
        self.told.append((machine_id, ending))

    def machine_joined(self, spec: MachineSpec) -> None:
        self.told.append((spec.id, "joined"))

    def machine_began(self, machine_id: str, placement: Placement) -> None:
        self.told.append((machine_id, "began"))

    def machine_froze(self, machine_id: str) -> None:
        self.told.append((machine_id, "froze"))

    def machine_thawed(self, machine_id: str) -> None:
        self.told.append((machine_id, "thawed"))

    def machine_left(self, machine_id: str) -> None:
        self.told.append((machine_id, "left"))

    def problem_met(self, words: str, machine_id: str | None = None) -> None:
        self.told.append((machine_id or "", words))

    def of(self, machine_id: str) -> list[str | Exit]:
        return [what for whose, what in self.told if whose == machine_id]

    def endings(self, machine_id: str) -> list[Exit]:
        return [what for what in self.of(machine_id) if isinstance(what, Exit)]


def machine_id(number: int) -> str:
    return f"{number:014x}"


def machine_spec(number: int, command: tuple[str, ...], *, kill_timeout_seconds: float = 5.0) -> MachineSpec:
    return MachineSpec(
        id=machine_id(number),
        name=f"ams-{number}",
        app="chat",
        region="ams",
        command=command,
        internal_port=INTERNAL_PORT,
        kill_timeout_seconds=kill_timeout_seconds,
    )


async def eventually(is_so: Callable[[], bool], what: str, *, within_seconds: float = 5.0) -> None:
    """Wait for a condition; fail, saying what was waited for, when it does not come about."""
    deadline = time.monotonic() + within_seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {within_seconds:g} s: {what}"
        await asyncio.sleep(0.005)


async def answers(placement: Placement, *, within_seconds: float = 0.25) -> bool:
    """Whether the machine answers a request within that time."""
    try:
        async with asyncio.timeout(within_seconds):
            reader, writer = await asyncio.open_connection(placement.host, placement.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nhost: machine\r\n\r\n")
                return (await reader.readline()).startswith(b"HTTP/1.1 200")
            finally:
                writer.close()
    except (TimeoutError, OSError):
        return False


async def becomes_reachable(placement: Placement) -> None:
    deadline = time.monotonic() + 5
    while not await answers(placement):
        assert time.monotonic() < deadline, f"nothing answers at {placement.address}"
        await asyncio.sleep(0.005)

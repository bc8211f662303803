"""Harness of the contract suite: each backend, with machines whose behaviour the tests configure."""

from __future__ import annotations

import asyncio
import json
import sys
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
from simulator.retry import poll
from simulator.routing.model import App

APP = Path(__file__).parent / "app.py"
POLL_SECONDS = 0.005

INTERNAL_PORT = free_port()
"""Not 8080: another process may listen on that port on all addresses."""


class Harness(Protocol):
    """One backend, and the command that gives a machine on it a behaviour."""

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
        """A command other than {python} becomes that of an image without such a program."""
        spec = replace(machine_spec(number, command, **options), cwd=APP.parent)
        return spec if command[0] == "{python}" else replace(spec, image=PYTHON_IMAGE, image_command=command)


@dataclass
class Recorder:
    """Observer that records all reports, in order."""

    told: list[tuple[str, str | Exit]] = field(default_factory=list)

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        self.told.append((machine_id, line))

    def machine_exited(self, machine_id: str, exited: Exit) -> None:
        self.told.append((machine_id, exited))

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

    def problem_met(self, description: str, machine_id: str | None = None) -> None:
        self.told.append((machine_id or "", description))

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
    """Wait for a condition; fail with the text `what` if it is not met in time."""
    is_met = await poll(
        lambda: True if is_so() else None, timeout_seconds=within_seconds, interval_seconds=POLL_SECONDS
    )
    assert is_met, f"not within {within_seconds:g} s: {what}"


async def answers(placement: Placement, *, within_seconds: float = 0.25) -> bool:
    """Whether the machine responds to a request within that time."""
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
    async def is_reachable() -> bool | None:
        return True if await answers(placement) else None

    is_met = await poll(is_reachable, timeout_seconds=5, interval_seconds=POLL_SECONDS)
    assert is_met, f"nothing responds at {placement.address}"

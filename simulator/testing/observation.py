"""Helpers for tests of machine backends: a recording observer, machine specs, and waiting for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.config.model import MachineSpec
from simulator.machines.backend import Exit, Placement
from simulator.machines.port import free_port
from simulator.retry import poll

POLL_SECONDS = 0.005

INTERNAL_PORT = free_port()
"""Not 8080: another process may listen on that port on all addresses."""


@dataclass
class RecordingObserver:
    """Observer that records all reports, in order."""

    reports: list[tuple[str, str | Exit]] = field(default_factory=list)

    def line_logged(self, machine_id: str, stream: str, line: str) -> None:
        self.reports.append((machine_id, line))

    def machine_exited(self, machine_id: str, exited: Exit) -> None:
        self.reports.append((machine_id, exited))

    def machine_added(self, spec: MachineSpec) -> None:
        self.reports.append((spec.id, "added"))

    def machine_started(self, machine_id: str, placement: Placement) -> None:
        self.reports.append((machine_id, "started"))

    def machine_paused(self, machine_id: str) -> None:
        self.reports.append((machine_id, "paused"))

    def machine_unpaused(self, machine_id: str) -> None:
        self.reports.append((machine_id, "unpaused"))

    def machine_removed(self, machine_id: str) -> None:
        self.reports.append((machine_id, "removed"))

    def problem_reported(self, description: str, machine_id: str | None = None) -> None:
        self.reports.append((machine_id or "", description))

    def of(self, machine_id: str) -> list[str | Exit]:
        return [report for reported_id, report in self.reports if reported_id == machine_id]

    def endings(self, machine_id: str) -> list[Exit]:
        return [report for report in self.of(machine_id) if isinstance(report, Exit)]


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


async def eventually(condition: Callable[[], bool], what: str, *, within_seconds: float = 5.0) -> None:
    """Wait for a condition; fail with the text `what` if it is not met in time."""
    is_met = await poll(
        lambda: True if condition() else None, timeout_seconds=within_seconds, interval_seconds=POLL_SECONDS
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

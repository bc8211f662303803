"""Whether a machine is healthy: by its app's service checks, or by whether it listens when it has none.

A start is watched closely, many times a second, so that it takes no longer than it must; after the first pass every
check has its own interval, on the simulated clock. Checks go to the machine itself, never through the proxy (F-5.22).
What follows from failing is not decided here: it stops delivery, never the machine (F-5.17, F-5.18).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from simulator.clock import Clock
from simulator.config.model import Check
from simulator.machines.backend import Placement
from simulator.routing.model import join_address

_FIRST_PAUSE_SECONDS = 0.025
_LONGEST_PAUSE_SECONDS = 0.5
_LINGER_SECONDS = 0.25
_HANG_UP_SECONDS = 0.25
_MAX_BODY_BYTES = 65_536

RunResult = Callable[[bool, str], None]
"""Healthy or not, and why not."""

FindImpostor = Callable[[int], Awaitable[str | None]]
"""Who answers at a port of the machine in its place, if anybody does: a check that they pass proves nothing."""


IsHeld = Callable[[], bool]
"""Whether its start is held up by a fault: it does nothing then, whatever its kernel accepts for it."""


async def _nobody_else(port: int) -> str | None:
    return None


class HealthMonitor:
    """Examines one machine for as long as `run` runs, and reports every change of its health."""

    def __init__(
        self,
        placement: Placement,
        checks: tuple[Check, ...],
        clock: Clock,
        report: RunResult,
        find_port_conflict: FindImpostor = _nobody_else,
        is_held: IsHeld = lambda: False,
        *,
        listens: bool = True,
    ) -> None:
        """`listens`: whether the machine has to be reachable at all; a worker without a service need not."""
        self.last_failure = "it was not examined yet"
        self._placement = placement
        self._checks = checks
        self._clock = clock
        self._report = report
        self._find_impostor = find_port_conflict
        self._is_held = is_held
        self._listens = listens
        self._failures: dict[Check, str] = {}

    async def run(self) -> None:
        """Ends after the first pass where there are no checks: such a machine counts as healthy (F-5.23)."""
        for check in self._checks or ((Check("tcp"),) if self._listens else ()):
            await self._until_first_pass(check)
        self._report(True, "")
        async with asyncio.TaskGroup() as group:
            for check in self._checks:
                group.create_task(self._repeat(check))

    async def _until_first_pass(self, check: Check) -> None:
        from simulator.retry import poll  # Not at the top: `flysim --help` loads this module.

        pause_seconds = _FIRST_PAUSE_SECONDS

        async def passes() -> bool | None:
            nonlocal pause_seconds
            failure = await self._find_failure(check)
            if failure is None:
                return True
            if failure.was_answered:  # The app may log each check: check it less often.
                pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            self.last_failure = str(failure)
            return None

        await poll(passes, interval_seconds=lambda: pause_seconds)

    async def _repeat(self, check: Check) -> None:
        while True:
            await self._clock.elapse(check.interval_seconds)
            failure = await self._find_failure(check)
            was_healthy = not self._failures
            if failure:
                self._failures[check] = self.last_failure = str(failure)
            else:
                self._failures.pop(check, None)
            if was_healthy is bool(self._failures):
                self._report(not self._failures, "; ".join(self._failures.values()))

    async def _find_failure(self, check: Check) -> Failure | None:
        if self._is_held():
            return Failure("its start is held up by a fault")
        failure = await find_failure(check, self._placement)
        port = _port_of(check, self._placement)
        if failure is None and (impostor := await self._find_impostor(port)):
            words = f"{impostor} answers at {join_address(self._placement.host, port)} in its place"
            return Failure(words, was_answered=True)
        return failure


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a check did not pass, and whether the app got to see it."""

    words: str
    was_answered: bool = False

    def __str__(self) -> str:
        return self.words


def _port_of(check: Check, placement: Placement) -> int:
    return placement.port_for(check.port) if check.port else placement.port


async def find_failure(check: Check, placement: Placement) -> Failure | None:
    """Examine a machine once."""
    port = _port_of(check, placement)
    try:
        async with asyncio.timeout(check.timeout_seconds):
            reader, writer = await asyncio.open_connection(placement.host, port)
    except TimeoutError:
        address = join_address(placement.host, port)
        return Failure(f"{address} accepts no connection within {check.timeout_seconds:g} s")
    except OSError:
        return Failure(f"nothing listens on {join_address(placement.host, port)}")
    try:
        if check.type == "http":
            return await _find_http_failure(check, join_address(placement.host, port), reader, writer)
        if placement.is_forwarded and await _is_hung_up_on(reader):
            return Failure(f"nothing listens behind {join_address(placement.host, port)}")
        return None
    finally:
        writer.close()


async def _is_hung_up_on(reader: asyncio.StreamReader) -> bool:
    """Docker accepts connections to a published port itself, and ends them when nobody in the container does."""
    try:
        async with asyncio.timeout(_HANG_UP_SECONDS):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        return True


async def _find_http_failure(
    check: Check, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Failure | None:
    """Only a status of 2xx passes; a redirect is not followed (F-5.19)."""
    asked = f"{check.method.upper()} {check.path}"
    try:
        async with asyncio.timeout(check.timeout_seconds):
            writer.write(_request(check, address))
            status_line = await reader.readline()
    except TimeoutError:
        return Failure(f"{asked} was not answered within {check.timeout_seconds:g} s", was_answered=True)
    except (OSError, ValueError):  # ValueError: a line without end
        status_line = b""
    version, _, rest = status_line.decode("latin-1").partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        return Failure(f"{asked} was answered with no HTTP response", was_answered=True)
    await _read_to_the_end(reader)
    status = int(rest[:3])
    return (
        None
        if 200 <= status < 300
        else Failure(f"{asked} was answered with {status}, not 2xx", was_answered=True)
    )


def _request(check: Check, address: str) -> bytes:
    fields = {"Host": address, "User-Agent": "flysim-check", "Connection": "close"}
    own_names = {name.lower() for name, _ in check.headers}
    lines = [f"{check.method.upper()} {check.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name.lower() not in own_names]
    lines += [f"{name}: {value}" for name, value in check.headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def _read_to_the_end(reader: asyncio.StreamReader) -> None:
    """Many apps complain in their log of a client that leaves before it has read its answer."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_LINGER_SECONDS):
            left = _MAX_BODY_BYTES
            while left > 0 and (data := await reader.read(left)):
                left -= len(data)

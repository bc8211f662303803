"""Health checks of one machine: the app's service checks, or a TCP connection if it has none.

During a start, checks run many times a second, so that a start takes no longer than necessary. After its first pass
each check runs at its own interval, on the simulated clock. Checks go directly to the machine, not through the proxy
(F-5.22). A failing check stops deliveries to the machine, but never the machine itself (F-5.17, F-5.18).
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
from simulator.text import encode_field

_FIRST_PAUSE_SECONDS = 0.025
_LONGEST_PAUSE_SECONDS = 0.5
_DRAIN_SECONDS = 0.25
_PEER_CLOSE_SECONDS = 0.25
_MAX_BODY_BYTES = 65_536
NOT_CHECKED = "no check has run yet"

ReportHealth = Callable[[bool, str], None]
"""Receives whether the machine is healthy, and if not, the reason."""

FindPortConflict = Callable[[int], Awaitable[str | None]]
"""Describes another process that answers on a port of the machine, if any: then a passing check proves nothing."""

IsStartDelayed = Callable[[], bool]
"""Whether a fault delays the machine's start: the machine is suspended then, even if its kernel accepts connections."""


async def _no_conflict(port: int) -> str | None:
    return None


class HealthMonitor:
    """Checks one machine until `run` is canceled, and reports every change of its health."""

    def __init__(
        self,
        placement: Placement,
        checks: tuple[Check, ...],
        clock: Clock,
        report: ReportHealth,
        find_port_conflict: FindPortConflict = _no_conflict,
        is_start_delayed: IsStartDelayed = lambda: False,
        *,
        listens: bool = True,
    ) -> None:
        """`listens`: whether the machine must accept connections; a worker without a service need not."""
        self.last_failure = NOT_CHECKED
        self._placement = placement
        self._checks = checks
        self._clock = clock
        self._report = report
        self._find_port_conflict = find_port_conflict
        self._is_start_delayed = is_start_delayed
        self._listens = listens
        self._failures: dict[Check, str] = {}

    async def run(self) -> None:
        """Run all checks. Returns after the first pass if the app has none: its machine counts as healthy (F-5.23)."""
        for check in self._checks or ((Check("tcp"),) if self._listens else ()):
            await self._wait_for_first_pass(check)
        self._report(True, "")
        async with asyncio.TaskGroup() as group:
            for check in self._checks:
                group.create_task(self._repeat(check))

    async def _wait_for_first_pass(self, check: Check) -> None:
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
        while True:  # Not a retry: periodic work on the simulated clock, until the task is canceled.
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
        if self._is_start_delayed():
            return Failure("a fault delays its start")
        failure = await find_failure(check, self._placement)
        port = _port_of(check, self._placement)
        if failure is None and (conflict := await self._find_port_conflict(port)):
            address = join_address(self._placement.host, port)
            return Failure(f"{conflict} responds on {address} instead of this machine", was_answered=True)
        return failure


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a check failed, and whether the app received it."""

    reason: str
    was_answered: bool = False

    def __str__(self) -> str:
        return self.reason


def _port_of(check: Check, placement: Placement) -> int:
    return placement.port_for(check.port) if check.port else placement.port


async def find_failure(check: Check, placement: Placement) -> Failure | None:
    """Run a check once; None if it passes."""
    port = _port_of(check, placement)
    try:
        async with asyncio.timeout(check.timeout_seconds):
            reader, writer = await asyncio.open_connection(placement.host, port)
    except TimeoutError:
        address = join_address(placement.host, port)
        return Failure(f"{address} did not accept a connection within {check.timeout_seconds:g} s")
    except OSError:
        return Failure(f"nothing listens on {join_address(placement.host, port)}")
    try:
        if check.type == "http":
            return await _find_http_failure(check, join_address(placement.host, port), reader, writer)
        if placement.is_forwarded and await _is_closed_by_peer(reader):
            return Failure(f"nothing listens on the port behind {join_address(placement.host, port)}")
        return None
    finally:
        writer.close()


async def _is_closed_by_peer(reader: asyncio.StreamReader) -> bool:
    """Whether the peer closes the connection at once.

    Docker accepts connections to a published port itself, and closes them if nothing listens in the container.
    """
    try:
        async with asyncio.timeout(_PEER_CLOSE_SECONDS):
            return not await reader.read(1)
    except TimeoutError:
        return False
    except OSError:
        return True


async def _find_http_failure(
    check: Check, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Failure | None:
    """Only a 2xx status passes; redirects are not followed (F-5.19)."""
    request = f"{check.method.upper()} {check.path}"
    try:
        async with asyncio.timeout(check.timeout_seconds):
            writer.write(_request(check, address))
            status_line = await reader.readline()
    except TimeoutError:
        return Failure(f"no response to {request} within {check.timeout_seconds:g} s", was_answered=True)
    except (OSError, ValueError):  # ValueError: the line is too long
        status_line = b""
    version, _, rest = status_line.decode("latin-1").partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdigit():
        return Failure(f"the response to {request} is not HTTP", was_answered=True)
    await _drain(reader)
    status = int(rest[:3])
    if 200 <= status < 300:
        return None
    return Failure(f"{request} returned {status}, expected 2xx", was_answered=True)


def _request(check: Check, address: str) -> bytes:
    fields = {"Host": address, "User-Agent": "flysim-check", "Connection": "close"}
    own_names = {name.lower() for name, _ in check.headers}
    lines = [f"{check.method.upper()} {check.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields.items() if name.lower() not in own_names]
    lines += [f"{name}: {value}" for name, value in check.headers]
    return encode_field("\r\n".join([*lines, "", ""]))


async def _drain(reader: asyncio.StreamReader) -> None:
    """Read the rest of the response: many apps log an error if the client disconnects early."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            left = _MAX_BODY_BYTES
            while left > 0 and (data := await reader.read(left)):
                left -= len(data)

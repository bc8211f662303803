"""Where a scenario's steps play: the stage, the visitors, what was captured, and the patience to wait for traces.

Branches of a `parallel` step each have their own `Scene` over the same `Props`, so that `client:` in one of them
does not change who acts in another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from simulator.config.problems import suggest
from simulator.errors import InputError
from simulator.events import MachineLogged
from simulator.results import ClientResponse, Mismatch, StepResult
from simulator.retry import poll
from simulator.routing.service import HTTP_PORT, HTTPS_PORT
from simulator.routing.trace import Trace
from simulator.scenario.client.http import Client
from simulator.scenario.expectations.check import find_mismatches
from simulator.scenario.expectations.match import describe_match, is_match
from simulator.scenario.expectations.schema import Expectation, LogMatch
from simulator.scenario.failure import StepFailed
from simulator.scenario.names import NameResolver
from simulator.scenario.simulator_protocol import RunningSimulator

if TYPE_CHECKING:
    from simulator.scenario.client.websocket import WebSocketConnection

PATIENCE_SECONDS = 2.0
"""How long a step waits, on the real clock, for a trace or a log line that is on its way."""
DEFAULT_CLIENT = "client"
T = TypeVar("T")


@dataclass
class SharedState:
    """What all branches of a scenario share."""

    simulator: RunningSimulator
    folder: Path
    names: NameResolver
    clients: dict[str, Client] = field(default_factory=dict)
    sockets: dict[str, WebSocketConnection] = field(default_factory=dict)
    ready_file: Path | None = None

    async def close(self) -> None:
        await asyncio.gather(*(socket.close(1000, "") for socket in self.sockets.values()))
        await asyncio.gather(*(client.close() for client in self.clients.values()))
        if self.ready_file is not None:
            self.ready_file.unlink(missing_ok=True)


class ScenarioContext:
    def __init__(self, shared: SharedState) -> None:
        self.shared = shared
        self.current_client = DEFAULT_CLIENT
        self.records: list[StepResult] = []
        self.response: ClientResponse | None = None
        """That of the latest step, for its record."""
        self.step_started_at = 0.0
        self.patience_seconds = PATIENCE_SECONDS

    @property
    def simulator(self) -> RunningSimulator:
        return self.shared.simulator

    @property
    def names(self) -> NameResolver:
        return self.shared.names

    def fork(self) -> ScenarioContext:
        branch = ScenarioContext(self.shared)
        branch.current_client = self.current_client
        return branch

    def get_client(self, name: str | None) -> Client:
        """The client of that name, or the one whose turn it is; made where it is new."""
        name = name or self.current_client
        if name not in self.shared.clients:
            first_edge = next(iter(self.simulator.edges))
            self.shared.clients[name] = Client(name, first_edge, self.simulator.clock)
        return self.shared.clients[name]

    def edge_url(self, edge: str, port: int | None = None) -> str:
        """`port`: a public port other than 80 and 443. Raises InputError with the edges and ports that there are."""
        if edge not in self.simulator.edges:
            known = list(self.simulator.edges)
            raise InputError(f'no edge "{edge}"{suggest(edge, known)}', expected=f"one of {', '.join(known)}")
        if port is None or port in (HTTP_PORT, HTTPS_PORT):
            return self.simulator.edges[edge]
        extra = self.simulator.extra_ports.get(edge, {})
        if port not in extra:
            raise InputError(
                f"edge {edge} has no public port {port}",
                expected=f"one of {', '.join(str(each) for each in sorted({HTTP_PORT, HTTPS_PORT, *extra}))}; "
                f"more are made in the config: {edge} = {{ {HTTP_PORT} = 0, {port} = 0 }}",
            )
        return extra[port]

    def base_url(
        self, client: Client, *, edge: str | None, direct: str | None, port: int | None = None
    ) -> str:
        """Where a client's connection goes: to an edge, or straight to a machine. Raises InputError."""
        if direct is None:
            return self.edge_url(edge or client.edge, port)
        machine = self.simulator.fleet.find(self.names.get_machine(direct).id)
        if machine is None:
            raise InputError(f"direct: {direct} is gone", expected="a machine that is there")
        return f"http://{machine.address}"

    async def find_trace(self, response: ClientResponse) -> Trace | None:
        """The trace of an answer, waited for: the edge may tell of it after the client has its answer."""
        request_id = response.request_id
        if request_id is None:
            return None
        return await poll(
            lambda: self.simulator.journal.find_trace(request_id), timeout_seconds=self.patience_seconds
        )

    async def check_response(self, response: ClientResponse, expect: Expectation | None) -> None:
        """Find the trace of an answer and hold it against what was expected. Raises StepFailed."""
        self.response = response
        response.trace = await self.find_trace(response)
        found = find_mismatches(expect, response, self.names) if expect else []
        if expect is not None:
            found += self._finding_mismatches(expect, response)
            found += await self.log_mismatches(expect.logs or ())
        if response.failure and (expect is None or expect.error is None):
            found.insert(0, Mismatch("answer", "one", response.failure_text))
        if found and response.not_followed and not any(mismatch.what == "status" for mismatch in found):
            found.append(
                Mismatch("redirects", "an end of them", f"one was not followed: {response.not_followed}")
            )
        if found:
            raise StepFailed(mismatches=tuple(found), response=response)

    def _finding_mismatches(self, expect: Expectation, response: ClientResponse) -> list[Mismatch]:
        if expect.findings is None:
            return []
        findings = self.simulator.findings(response.trace) if response.trace else ()
        actual = sorted(finding.id for finding in findings)
        if set(expect.findings) <= set(actual) and (expect.findings or not actual):
            return []
        return [Mismatch("findings", ", ".join(expect.findings) or "none", ", ".join(actual) or "none")]

    async def log_mismatches(self, wanted: Sequence[LogMatch]) -> list[Mismatch]:
        """Log lines since the step began, in order; waited for, because they take their own way here."""
        if not wanted:
            return []
        missing = await poll(
            lambda: True if not self._missing_logs(wanted) else None, timeout_seconds=self.patience_seconds
        )
        return [] if missing else self._missing_logs(wanted)

    def _missing_logs(self, wanted: Sequence[LogMatch]) -> list[Mismatch]:
        lines = [
            line
            for line in self.simulator.journal.log()
            if isinstance(line, MachineLogged) and line.at >= self.step_started_at
        ]
        rest = iter(lines)
        for index, match in enumerate(wanted):
            machine = self.names.get_machine(match.machine) if match.machine else None
            if not any(
                is_match(match, line.line) and (machine is None or line.machine_id == machine.id)
                for line in rest
            ):
                return [_log_mismatch(match, index, lines)]
        return []


def _log_mismatch(match: LogMatch, index: int, lines: Sequence[MachineLogged]) -> Mismatch:
    who = f"{match.machine}: " if match.machine else ""
    after = " after the lines before it" if index else ""
    actual = "".join(f"\n{line.name}: {line.line}" for line in lines[-12:]) or "nothing was logged"
    return Mismatch("logs", f"{who}a line that {describe_match(match, 'is ')}{after}", actual)

"""Context of a running scenario: simulator, clients, captured values, and the check of a response.

Each branch of a `parallel` step has its own `ScenarioContext` over the same `SharedState`, so `client:` in one branch
does not change the client of another.
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
from simulator.results import ClientResponse, Mismatch, SourceLocation, StepResult
from simulator.retry import poll
from simulator.routing.service import HTTP_PORT, HTTPS_PORT
from simulator.routing.trace import Trace
from simulator.scenario.client.http import Client
from simulator.scenario.expectations.check import find_mismatches
from simulator.scenario.expectations.match import describe_match, is_match
from simulator.scenario.expectations.schema import Expectation, LogMatch
from simulator.scenario.names import NameResolver
from simulator.scenario.simulator_protocol import RunningSimulator

if TYPE_CHECKING:
    from simulator.scenario.client.websocket import WebSocketConnection

EVENT_TIMEOUT_SECONDS = 2.0
"""How long a step waits for a trace or a log line to arrive, on the real clock."""
DEFAULT_CLIENT = "client"
T = TypeVar("T")


class StepFailed(Exception):
    """An expectation of a step does not hold, or the step cannot be carried out."""

    def __init__(
        self,
        problem: str = "",
        *,
        mismatches: tuple[Mismatch, ...] = (),
        response: ClientResponse | None = None,
        exit_status: int = 1,
    ) -> None:
        super().__init__(problem or "; ".join(f"{m.what}: expected {m.expected}" for m in mismatches))
        self.problem = problem
        self.mismatches = mismatches
        self.response = response
        """The response that the expectations were checked against."""
        self.exit_status = exit_status
        """1: an expectation; 2: the scenario file is wrong; 4: a bug in flysim."""
        self.location: SourceLocation | None = None
        """Location and title of the innermost step that failed. `run_step` sets both."""
        self.title = ""


@dataclass
class SharedState:
    """State that all branches of a scenario share."""

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
        self.step_results: list[StepResult] = []
        self.response: ClientResponse | None = None
        """The response of the current step, for its `StepResult`."""
        self.step_started_at = 0.0
        """On the simulated clock. Log lines before this do not count for the step."""
        self.event_timeout_seconds = EVENT_TIMEOUT_SECONDS

    @property
    def simulator(self) -> RunningSimulator:
        return self.shared.simulator

    @property
    def names(self) -> NameResolver:
        return self.shared.names

    def fork(self) -> ScenarioContext:
        """Return the context for a parallel branch."""
        branch = ScenarioContext(self.shared)
        branch.current_client = self.current_client
        return branch

    def get_client(self, name: str | None) -> Client:
        """Return the client called `name`, or the current one. A new name creates a client at the first edge."""
        name = name or self.current_client
        if name not in self.shared.clients:
            first_edge = next(iter(self.simulator.edges))
            self.shared.clients[name] = Client(name, first_edge, self.simulator.clock)
        return self.shared.clients[name]

    def edge_url(self, edge: str, port: int | None = None) -> str:
        """Return the base URL of an edge. `port`: a public port other than 80 and 443.

        Raises InputError with the known edges or ports.
        """
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
                f"to add it, write in the config: {edge} = {{ {HTTP_PORT} = 0, {port} = 0 }}",
            )
        return extra[port]

    def base_url(
        self, client: Client, *, edge: str | None, direct: str | None, port: int | None = None
    ) -> str:
        """Return the URL that a request connects to: of an edge, or of a machine (`direct`). Raises InputError."""
        if direct is None:
            return self.edge_url(edge or client.edge, port)
        machine = self.simulator.fleet.find(self.names.get_machine(direct).id)
        if machine is None:
            raise InputError(f"direct: machine {direct} no longer exists", expected="an existing machine")
        return f"http://{machine.address}"

    async def find_trace(self, response: ClientResponse) -> Trace | None:
        """Return the trace of a response. Waits for it: the journal may get it after the client gets the response."""
        request_id = response.request_id
        if request_id is None:
            return None
        return await poll(
            lambda: self.simulator.journal.find_trace(request_id), timeout_seconds=self.event_timeout_seconds
        )

    async def check_response(self, response: ClientResponse, expect: Expectation | None) -> None:
        """Find the trace of a response and check both against the expectations. Raises StepFailed."""
        self.response = response
        response.trace = await self.find_trace(response)
        found = find_mismatches(expect, response, self.names) if expect else []
        if expect is not None:
            found += self._finding_mismatches(expect, response)
            found += await self.log_mismatches(expect.logs or ())
        if response.failure and (expect is None or expect.error is None):
            found.insert(0, Mismatch("response", "a response", response.failure_text))
        if found and response.not_followed and not any(mismatch.what == "status" for mismatch in found):
            found.append(
                Mismatch("redirects", "all redirects followed", f"not followed: {response.not_followed}")
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
        """Check for log lines since the step began, in order. Waits for them: machines log asynchronously."""
        if not wanted:
            return []
        missing = await poll(
            lambda: True if not self._missing_logs(wanted) else None,
            timeout_seconds=self.event_timeout_seconds,
        )
        return [] if missing else self._missing_logs(wanted)

    def _missing_logs(self, wanted: Sequence[LogMatch]) -> list[Mismatch]:
        lines = [
            line
            for line in self.simulator.journal.log()
            if isinstance(line, MachineLogged) and line.at >= self.step_started_at
        ]
        remaining = iter(lines)
        for index, match in enumerate(wanted):
            machine = self.names.get_machine(match.machine) if match.machine else None
            if not any(
                is_match(match, line.line) and (machine is None or line.machine_id == machine.id)
                for line in remaining
            ):
                return [_log_mismatch(match, index, lines)]
        return []


def _log_mismatch(match: LogMatch, index: int, lines: Sequence[MachineLogged]) -> Mismatch:
    machine = f"{match.machine}: " if match.machine else ""
    after = " after the preceding expected lines" if index else ""
    actual = "".join(f"\n{line.name}: {line.line}" for line in lines[-12:]) or "nothing was logged"
    return Mismatch("logs", f"{machine}a line that {describe_match(match, 'is ')}{after}", actual)

"""Record of one machine, and the errors of a failed start, with the machine's last log lines."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections import deque
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from simulator.config.model import Check, MachineSpec
from simulator.errors import MachineFault
from simulator.machines.address import SHARED_HOST
from simulator.machines.backend import Exit, Placement
from simulator.machines.environment import machine_command
from simulator.machines.health import NOT_CHECKED, HealthMonitor
from simulator.routing.model import Machine, MachineState

LOG_TAIL_LINES = 20


@dataclass(eq=False)
class MachineRecord:
    """One machine: its spec, its current state and the tasks that watch it."""

    spec: MachineSpec
    machine: Machine
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held during a launch, so that no other action interferes."""
    log_tail: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_TAIL_LINES))
    monitor: HealthMonitor | None = None
    health_task: asyncio.Task[None] | None = None
    start_timeout_task: asyncio.Task[None] | None = None
    """Logs a warning if a machine that flysim did not start is not healthy in time."""
    start_outcome: asyncio.Future[Exit | None] | None = None
    """Result of the current start: None once the machine is healthy, or how it exited."""
    start_delay_seconds: float = 0.0
    """How long a fault delays each launch."""
    is_start_delayed: bool = False
    """Whether a fault keeps the machine suspended since its launch."""
    delay_task: asyncio.Task[None] | None = None
    """Resumes the machine after `start_delay_seconds`."""
    is_frozen: bool = False
    """Whether a fault froze it: it accepts connections and does not respond."""
    last_exit: Exit | None = None
    """How the machine exited after its latest start, if it has exited."""

    @property
    def is_external(self) -> bool:
        """Whether it runs outside flysim, which only routes to it."""
        return self.spec.is_external

    @property
    def placement(self) -> Placement:
        machine = self.machine
        return Placement(machine.host, machine.port, machine.private_ip, machine.ports)

    def own_checks(self) -> tuple[Check, ...]:
        """The app's checks; a check of the internal port goes to the port that was allocated for this machine."""
        return tuple(
            replace(check, port=None) if check.port == self.spec.internal_port else check
            for check in self.spec.checks
        )

    def reset_start_outcome(self) -> asyncio.Future[Exit | None]:
        """Create the future of a new start."""
        self.start_outcome = asyncio.get_running_loop().create_future()
        return self.start_outcome

    def begin_start(self) -> asyncio.Future[Exit | None]:
        """Reset the state of the previous run, and create the future of the new start."""
        self.log_tail.clear()
        self.last_exit = None
        self.stop_delay()
        self.is_frozen = False
        return self.reset_start_outcome()

    def continue_start(self) -> asyncio.Future[Exit | None]:
        """The future of the current start, or of a new one: the machine only moved to another address."""
        if self.start_outcome is None or self.start_outcome.done():
            return self.reset_start_outcome()
        return self.start_outcome

    def finish_start(self, outcome: Exit | None) -> None:
        if self.start_outcome is not None and not self.start_outcome.done():
            self.start_outcome.set_result(outcome)

    def stop_monitoring(self) -> None:
        self.cancel_start_timeout()
        if self.health_task is not None:
            self.health_task.cancel()
            self.health_task = None

    def stop_delay(self) -> None:
        self.is_start_delayed = False
        if self.delay_task is not None:
            self.delay_task.cancel()
            self.delay_task = None

    def cancel_start_timeout(self) -> None:
        if self.start_timeout_task is not None:
            self.start_timeout_task.cancel()
            self.start_timeout_task = None


def make_record(spec: MachineSpec) -> MachineRecord:
    machine = Machine(
        id=spec.id,
        name=spec.name,
        app=spec.app,
        region=spec.region,
        port=spec.internal_port,
        state=MachineState.CREATED,
        healthy=False,
        group=spec.group,
    )
    if spec.url is not None:
        url = urlsplit(spec.url)
        port = url.port or (443 if url.scheme == "https" else 80)
        machine = replace(machine, host=url.hostname or "127.0.0.1", port=port)
    return MachineRecord(spec, machine)


_IN_USE = re.compile("(address|connection|port [0-9]+) (is )?(already )?in use|eaddrinuse", re.IGNORECASE)
_PORT = re.compile(r"(?:port[ =:]+|:|, ?)([0-9]{2,5})(?![0-9.])", re.IGNORECASE)


def find_port_in_use(record: MachineRecord) -> int | None:
    """The port that the last log lines report as in use, if any."""
    reports = [line for line in record.log_tail if _IN_USE.search(line)]
    if not reports:
        return None
    ports = [int(port) for line in reports for port in _PORT.findall(line)[-1:]]
    # A line without a port: most likely the app's usual port is hard-coded.
    return ports[0] if ports else record.spec.internal_port


def exited_during_start(
    record: MachineRecord,
    exited: Exit,
    when: str,
    *,
    port_in_use: int | None = None,
    owner: str | None = None,
) -> MachineFault:
    """The error of a machine that exited during a start; `when` completes its text.

    `owner` describes the process that uses `port_in_use`.
    """
    return MachineFault(
        f"{record.spec.name} of app {record.spec.app}",
        f"{exited} {when}" + ("" if record.log_tail else ", without any output"),
        log_tail=tuple(record.log_tail),
        hint=_port_in_use_hint(record, port_in_use, owner) if port_in_use else _exit_hint(record),
    )


def _port_in_use_hint(record: MachineRecord, port: int, owner: str | None) -> str:
    owner = owner or "another process"
    if record.placement.host != SHARED_HOST:
        return (
            f"{owner} listens on port {port} on all addresses (0.0.0.0); bind each machine to its own address "
            f"instead: {{host}} in `command` or `env` (here {record.placement.host})"
        )
    return (
        f"port {port} is in use by {owner}; listen on the port in PORT, which differs for each machine "
        f"(here {record.placement.port}), or add {{host}} to `command` or `env` and bind to that address"
    )


def _exit_hint(record: MachineRecord) -> str:
    advice = "see its last log lines above, or run it alone" if record.log_tail else "run it alone to see why"
    if record.placement.is_forwarded and record.spec.image is not None:
        arguments = shlex.join(
            ("-e", f"PORT={record.spec.internal_port}", record.spec.image, *record.spec.image_command)
        )
        return f"{advice}: docker run --rm {arguments}"
    command = machine_command(record.spec, record.placement, dns_address="127.0.0.1:53")
    return f"{advice}, in {record.spec.cwd}: PORT={record.placement.port} {shlex.join(command)}"


def not_healthy_in_time(record: MachineRecord, listening: tuple[str, ...] | None) -> MachineFault:
    failure = record.monitor.last_failure if record.monitor else NOT_CHECKED
    return MachineFault(
        f"{record.spec.name} of app {record.spec.app}",
        f"was not healthy within {record.spec.start_timeout_seconds:g} s: {failure}",
        log_tail=tuple(record.log_tail),
        hint=_unhealthy_hint(record, listening),
    )


def _listen_hint(record: MachineRecord) -> str:
    if record.placement.is_forwarded:
        return f"make it listen on 0.0.0.0:{record.spec.internal_port} (the port in PORT), or on [::]"
    return f"make it listen on {record.placement.address} (the port in PORT, or {{host}}:{{port}} in its command)"


def _unhealthy_hint(record: MachineRecord, listening: tuple[str, ...] | None) -> str:
    if record.spec.url is not None:
        return f"start the server at {record.spec.url} first"
    if record.spec.lookup is not None:
        return f"make it listen on 0.0.0.0:{record.placement.port}, or correct its label fly.internal_port"
    if record.is_start_delayed:
        return "heal the fault that delays its start, or shorten the delay"
    wanted = _listen_hint(record)
    more_time = f"set a longer start_timeout under [apps.{record.spec.app}] in flysim.toml"
    if listening is None:
        return f"{wanted}, or {more_time}"
    if record.placement.address in listening:
        return f"find out why its check fails, or {more_time}"
    if listening:
        return f"it listens on {', '.join(listening)}; {wanted}"
    return f"it does not listen on any port; {wanted}, or {more_time}"

"""What the machine room knows of one machine, and the faults of its start, told with its last words."""

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
from simulator.machines.health import HealthMonitor
from simulator.routing.model import Machine, MachineState

TAIL_LINES = 20


@dataclass(eq=False)
class MachineRecord:
    """One machine: what it was told to be, what it is now, and who looks after it."""

    spec: MachineSpec
    machine: Machine
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it is launched, so that nothing is asked of it meanwhile."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    monitor: HealthMonitor | None = None
    examining: asyncio.Task[None] | None = None
    doubting: asyncio.Task[None] | None = None
    """Waits for the first pass of one that others have started."""
    outcome: asyncio.Future[Exit | None] | None = None
    """Of the start under way: None when it is healthy, else how it ended."""
    held_seconds: float = 0.0
    """How long each launch is held up, by a fault."""
    is_held: bool = False
    """By a fault, since its launch: it does nothing yet."""
    holding: asyncio.Task[None] | None = None
    """Ends that, when its time has come."""
    is_frozen: bool = False
    """By a fault: it accepts connections and does nothing."""
    ending: Exit | None = None
    """How it ended, once it has, since its latest start."""

    @property
    def is_external(self) -> bool:
        """Whether it runs already, and flysim only routes to it."""
        return self.spec.is_external

    @property
    def placement(self) -> Placement:
        machine = self.machine
        return Placement(machine.host, machine.port, machine.private_ip, machine.ports)

    def own_checks(self) -> tuple[Check, ...]:
        """The app's checks; one of its internal port is of the port that this machine got instead."""
        return tuple(
            replace(check, port=None) if check.port == self.spec.internal_port else check
            for check in self.spec.checks
        )

    def await_outcome(self) -> asyncio.Future[Exit | None]:
        """Before a start: what will come of it."""
        self.outcome = asyncio.get_running_loop().create_future()
        return self.outcome

    def begin_start(self) -> asyncio.Future[Exit | None]:
        """It is about to run: what it said, how it ended and what held it up before is another story."""
        self.tail.clear()
        self.ending = None
        self.stop_holding()
        self.is_frozen = False
        return self.await_outcome()

    def go_on(self) -> asyncio.Future[Exit | None]:
        """It runs on, elsewhere: whoever waits for its start waits for the same."""
        if self.outcome is None or self.outcome.done():
            return self.await_outcome()
        return self.outcome

    def settle_start(self, outcome: Exit | None) -> None:
        if self.outcome is not None and not self.outcome.done():
            self.outcome.set_result(outcome)

    def stop_examining(self) -> None:
        self.stop_doubting()
        if self.examining is not None:
            self.examining.cancel()
            self.examining = None

    def stop_holding(self) -> None:
        self.is_held = False
        if self.holding is not None:
            self.holding.cancel()
            self.holding = None

    def stop_doubting(self) -> None:
        if self.doubting is not None:
            self.doubting.cancel()
            self.doubting = None


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
    """The port that another process had already, if that is what the machine's last words complain of."""
    complaints = [line for line in record.tail if _IN_USE.search(line)]
    if not complaints:
        return None
    ports = [int(port) for line in complaints for port in _PORT.findall(line)[-1:]]
    # One that does not say which has most likely the app's usual port written into it.
    return ports[0] if ports else record.spec.internal_port


def died_at_start(
    record: MachineRecord,
    ending: Exit,
    when: str,
    *,
    port_in_use: int | None = None,
    holder: str | None = None,
) -> MachineFault:
    """`holder`, in words, has the port that the machine asked for."""
    return MachineFault(
        f"{record.spec.name} of app {record.spec.app}",
        f"{ending} {when}" + ("" if record.tail else ", and wrote nothing"),
        log_tail=tuple(record.tail),
        hint=_hint_port_in_use(record, port_in_use, holder) if port_in_use else _hint_death(record),
    )


def _hint_port_in_use(record: MachineRecord, port: int, holder: str | None) -> str:
    holder = holder or "another process"
    if record.placement.host != SHARED_HOST:
        return (
            f"{holder} listens on port {port} of every address: let each machine bind its own, "
            f"which is {{host}} in command or env (here {record.placement.host}), and not 0.0.0.0"
        )
    return (
        f"port {port} is taken by {holder}: listen on PORT, which is another for every machine "
        f"(here {record.placement.port}), or put {{host}} into command or env and bind that address"
    )


def _hint_death(record: MachineRecord) -> str:
    said = "its last lines say why" if record.tail else "it may say more when it runs by itself"
    if record.placement.is_forwarded and record.spec.image is not None:
        words = shlex.join(
            ("-e", f"PORT={record.spec.internal_port}", record.spec.image, *record.spec.image_command)
        )
        return f"{said}; to try it alone: docker run --rm {words}"
    command = machine_command(record.spec, record.placement, dns_address="127.0.0.1:53")
    alone = f"PORT={record.placement.port} {shlex.join(command)}"
    return f"{said}; to try it alone, in {record.spec.cwd}: {alone}"


def not_healthy_in_time(record: MachineRecord, listening: tuple[str, ...] | None) -> MachineFault:
    failure = record.monitor.last_failure if record.monitor else "it was not examined yet"
    return MachineFault(
        f"{record.spec.name} of app {record.spec.app}",
        f"was not healthy within {record.spec.start_timeout_seconds:g} s: {failure}",
        log_tail=tuple(record.tail),
        hint=_hint(record, listening),
    )


def _wanted(record: MachineRecord) -> str:
    if record.placement.is_forwarded:
        return f"let it listen on 0.0.0.0:{record.spec.internal_port} (PORT), which the proxy reaches, or on [::]"
    return f"let it listen on {record.placement.address} (PORT, or {{host}} and {{port}} in its command)"


def _hint(record: MachineRecord, listening: tuple[str, ...] | None) -> str:
    if record.spec.url is not None:
        return f"start the server of {record.spec.url} first"
    if record.spec.lookup is not None:
        return f"let it listen on {record.placement.port}, on 0.0.0.0, or correct its label fly.internal_port"
    if record.is_held:
        return "heal the fault that holds up its start, or let it be shorter"
    wanted = _wanted(record)
    more_time = f"give it more time: start_timeout under [apps.{record.spec.app}] of a flysim.toml"
    if listening is None:
        return f"{wanted}, or {more_time}"
    if record.placement.address in listening:
        return f"look into why its check fails, or {more_time}"
    if listening:
        return f"it listens on {', '.join(listening)}: {wanted}"
    return f"it listens nowhere: {wanted}, or {more_time}"

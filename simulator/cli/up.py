"""`flysim up` and `flysim demo`: a fleet that runs until a stop signal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.compose_project import FleetSource, open_fleet
from simulator.cli.control import default_control_url
from simulator.cli.fleet import check_writable, demo_config, print_start, ready_file
from simulator.cli.network_options import read_network_position
from simulator.cli.options import (
    BackendOption,
    ComposeOption,
    ConfigOption,
    ControlListenOption,
    DnsPortOption,
    FreePortsOption,
    ListenOption,
    NamesOption,
    PublishedOption,
    QuietOption,
)
from simulator.cli.signals import StopSignals
from simulator.events import Event, MachineHealthChanged, MachineLogged, MachineStateChanged, ProxyLogged
from simulator.memory import prepare_for_long_run
from simulator.routing.model import Machine, MachineState

if TYPE_CHECKING:
    from simulator.network_position import NetworkPosition
    from simulator.runtime import Simulator

_SLOW_START_SECONDS = 5.0
_DOWN_STATES = frozenset({MachineState.STOPPED, MachineState.FAILED, MachineState.SUSPENDED})
"""The states that a machine does not leave on its own."""

ReadyOption = Annotated[
    Path | None,
    typer.Option(
        "--ready-file",
        metavar="PATH",
        help="Write all addresses to this file as JSON once all machines are healthy.",
    ),
]


def up(
    config: ConfigOption = None,
    compose: ComposeOption = None,
    ready_file: ReadyOption = None,
    free_ports: FreePortsOption = False,
    names: NamesOption = False,
    backend: BackendOption = "process",
    listen: ListenOption = "127.0.0.1",
    control_listen: ControlListenOption = None,
    dns_port: DnsPortOption = None,
    published: PublishedOption = None,
    quiet: QuietOption = False,
) -> None:
    """Start edges, machines and control API, and show all logs.

    Runs until Ctrl-C, which stops everything.

    Example: flysim up -c flysim.toml
    """
    check_writable(ready_file)
    network_position = read_network_position(
        listen,
        dns_port,
        published or [],
        beside_machines=compose is not None,
        control_listen=control_listen,
    )
    fleet = open_fleet(config, compose, backend, quiet=quiet)
    _up_until_stopped(fleet, UpOptions(ready_file, free_ports, names, quiet, network_position))


def demo(
    ready_file: ReadyOption = None,
    free_ports: FreePortsOption = False,
    names: NamesOption = False,
    backend: BackendOption = "process",
    quiet: QuietOption = False,
) -> None:
    """Start the sample app: one machine in Amsterdam, two in Dallas.

    Works in any folder. Runs until Ctrl-C, which stops everything.

    Example: flysim demo
    """
    check_writable(ready_file)
    fleet = open_fleet(demo_config(), None, backend, quiet=quiet)
    _up_until_stopped(fleet, UpOptions(ready_file, free_ports, names, quiet))


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How to start a fleet and what to print about it."""

    ready_file: Path | None
    free_ports: bool
    names: bool
    quiet: bool
    network_position: NetworkPosition | None = None

    @property
    def control_token(self) -> str | None:
        """What clients of the control API need; None if it is open to this computer only."""
        return self.network_position.control_token if self.network_position else None


def _up_until_stopped(fleet: FleetSource, options: UpOptions) -> None:
    raise typer.Exit(asyncio.run(_up(fleet, options)))


async def _up(fleet: FleetSource, options: UpOptions) -> int:
    from simulator.runtime import Simulator

    quiet = options.quiet
    simulator = Simulator(
        fleet.config,
        free_ports=options.free_ports,
        backend=fleet.backend,
        allow_unhealthy=fleet.runs_outside,
        network_position=options.network_position,
    )
    simulator.check_ports()
    if fleet.mode:
        console.print_note(fleet.mode, quiet=quiet)
    else:
        print_start(fleet.config, quiet=quiet)
    outcome = "stopped before all machines were healthy"
    with StopSignals() as signals:
        printer = EventPrinter(options)
        _print_events(simulator, signals, printer)
        reminder = asyncio.get_running_loop().call_later(
            _SLOW_START_SECONDS, _print_unhealthy, simulator, quiet
        )
        try:
            async with simulator:
                if not fleet.runs_outside:  # Otherwise machines may still be unhealthy now.
                    reminder.cancel()
                signals.stop_gracefully()
                printer.is_up = True
                prepare_for_long_run()
                outcome = "stopped immediately"
                if not quiet:
                    _print_addresses(simulator, options.control_token, leaves_machines=fleet.runs_outside)
                with ready_file(options.ready_file, simulator, options.control_token):
                    await signals.wait()
                console.print_note("stopping …", quiet=quiet)
        except asyncio.CancelledError:
            console.print_note(outcome, quiet=quiet)
            return signals.exit_status
        finally:
            reminder.cancel()
    return signals.exit_status if signals.is_pipe_broken else 0


def _print_unhealthy(simulator: Simulator, quiet: bool) -> None:
    """During a slow start, name the machines that flysim is waiting for."""
    for machine_id, problem in simulator.health_problems().items():
        name = simulator.find_machine(machine_id).name
        console.print_note(f"{name} is not healthy yet: {problem}", quiet=quiet)


def _print_events(simulator: Simulator, signals: StopSignals, printer: EventPrinter) -> None:
    def take(event: Event) -> None:
        try:
            printer.print(event)
        except BrokenPipeError:  # The reader has closed our output: stop, with all cleanup.
            unsubscribe()
            console.discard_stdout()
            signals.break_pipe()

    unsubscribe = simulator.bus.subscribe(take)


class EventPrinter:
    """Prints the events of a running simulator: logs, state changes and health changes."""

    def __init__(self, options: UpOptions) -> None:
        self.is_up = False
        """Until then only logs are printed. State changes belong to the start, which reports its own errors."""
        self._options = options
        self._last: dict[str, MachineState] = {}
        """Machine id -> its latest state that is started or in _DOWN_STATES."""
        self._unhealthy: set[str] = set()
        """Ids of the machines that run and fail their checks."""

    def print(self, event: Event) -> None:
        if isinstance(event, MachineLogged | ProxyLogged):
            console.print_log_line(event, names=self._options.names)
        elif isinstance(event, MachineStateChanged):
            self._print_state(event)
        elif isinstance(event, MachineHealthChanged):
            self._print_health(event)

    def _print_state(self, event: MachineStateChanged) -> None:
        machine_id, state = event.machine_id, event.after
        self._unhealthy.discard(machine_id)
        before = self._last.get(machine_id)
        if state is MachineState.DESTROYED:
            self._last.pop(machine_id, None)
            self._note(f"{event.name} is destroyed")
        elif state in _DOWN_STATES:
            self._last[machine_id] = state
            self._note(
                f"{event.name} is {state}: {event.reason}" if event.reason else f"{event.name} is {state}"
            )
        elif state is MachineState.STARTED and before is not MachineState.STARTED:
            self._last[machine_id] = state
            self._note(f"{event.name} is {_start_text(before, machine_id)}")

    def _print_health(self, event: MachineHealthChanged) -> None:
        if not event.healthy:
            self._unhealthy.add(event.machine_id)
            self._note(f"{event.name} is unhealthy: {event.reason}")
        elif event.machine_id in self._unhealthy:
            self._unhealthy.discard(event.machine_id)
            self._note(f"{event.name} is healthy again")

    def _note(self, text: str) -> None:
        if self.is_up:
            console.print_note(text, quiet=self._options.quiet)


def _start_text(before: MachineState | None, machine_id: str) -> str:
    if before is None:
        return f"created, with id {machine_id}"
    return "resumed" if before is MachineState.SUSPENDED else "started again"


def _print_addresses(simulator: Simulator, control_token: str | None, *, leaves_machines: bool) -> None:
    for region, url in simulator.edges.items():
        console.print_line(f"edge {region:8} {url}")
    for machine in simulator.fleet.machines:
        console.print_line(
            f"{machine.name:13} {machine.id}  {machine.region}  {_address_of(machine)}  {machine.app}"
        )
    console.print_line(f"{'control':13} {simulator.control_url}")
    console.print_line(f"{'page':13} {simulator.page_url}  (every exchange, hop by hop)")
    if control_token:
        console.print_line(f"{'token':13} {control_token}  (the control API is open to other computers)")
    first = next(iter(simulator.edges.values()))
    control = "" if simulator.control_url == default_control_url() else f"--control {simulator.control_url} "
    if control_token:
        control = f"--control '{simulator.page_url}' "
    what = "flysim, but not the machines" if leaves_machines else "everything"
    console.print_line(f"\nOpen {first}/ or run: flysim trace {control}{first}/")
    console.print_line(f"Press Ctrl-C to stop {what}.\n")


def _address_of(machine: Machine) -> str:
    return f"is {machine.state}" if machine.state in _DOWN_STATES else machine.address

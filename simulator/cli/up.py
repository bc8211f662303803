"""`flysim up` and `flysim demo`: a fleet, until it is told to stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.compose_project import Fleet, open_fleet
from simulator.cli.control import usual_control_url
from simulator.cli.fleet import check_writable, demo_config, note_start, ready_file
from simulator.cli.network_options import read_network_position
from simulator.cli.options import (
    BackendOption,
    ComposeOption,
    ConfigOption,
    DnsPortOption,
    FreePortsOption,
    ListenOption,
    NamesOption,
    PublishedOption,
    QuietOption,
)
from simulator.cli.signals import StopSignals
from simulator.events import Event, MachineHealthChanged, MachineLogged, MachineStateChanged, ProxyLogged
from simulator.routing.model import Machine, MachineState

if TYPE_CHECKING:
    from simulator.network_position import NetworkPosition
    from simulator.runtime import Simulator

_SILENCE_SECONDS = 5.0
_LASTING = frozenset({MachineState.STOPPED, MachineState.FAILED, MachineState.SUSPENDED})
"""A machine that is in one of these does not come out of it by itself."""

ReadyOption = Annotated[
    Path | None,
    typer.Option(
        "--ready-file", metavar="PATH", help="Write where everything is, as JSON, once all is healthy."
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
    dns_port: DnsPortOption = None,
    published: PublishedOption = None,
    quiet: QuietOption = False,
) -> None:
    """Start edges, machines and control API; show the machines' logs; Ctrl-C stops all of it.

    Example: flysim up -c flysim.toml
    """
    check_writable(ready_file)
    network_position = read_network_position(
        listen, dns_port, published or [], beside_machines=compose is not None
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
    """Start the sample app: one machine in Amsterdam, two in Dallas. Works in any folder.

    Example: flysim demo
    """
    check_writable(ready_file)
    fleet = open_fleet(demo_config(), None, backend, quiet=quiet)
    _up_until_stopped(fleet, UpOptions(ready_file, free_ports, names, quiet))


@dataclass(frozen=True, slots=True)
class UpOptions:
    """How a fleet is to be started and shown."""

    ready_file: Path | None
    free_ports: bool
    names: bool
    quiet: bool
    network_position: NetworkPosition | None = None


def _up_until_stopped(fleet: Fleet, manner: UpOptions) -> None:
    raise typer.Exit(asyncio.run(_up(fleet, manner)))


async def _up(fleet: Fleet, manner: UpOptions) -> int:
    from simulator.runtime import Simulator

    quiet = manner.quiet
    simulator = Simulator(
        fleet.config,
        free_ports=manner.free_ports,
        backend=fleet.backend,
        is_patient=fleet.is_patient,
        network_position=manner.network_position,
    )
    simulator.check_ports()
    if fleet.mode:
        console.note(fleet.mode, quiet=quiet)
    else:
        note_start(fleet.config, quiet=quiet)
    cut_short = "stopped before all machines were healthy"
    with StopSignals() as signals:
        told = EventPrinter(manner)
        _show_events(simulator, signals, told)
        hint = asyncio.get_running_loop().call_later(_SILENCE_SECONDS, _hint, simulator, quiet)
        try:
            async with simulator:
                if not fleet.is_patient:  # With patience, who is ill at the start is told of afterwards.
                    hint.cancel()
                signals.ask_politely()
                told.is_up = True
                cut_short = "stopped at once"
                if not quiet:
                    _show_places(simulator, leaves_machines=fleet.is_patient)
                with ready_file(manner.ready_file, simulator):
                    await signals.wait()
                console.note("stopping …", quiet=quiet)
        except asyncio.CancelledError:
            console.note(cut_short, quiet=quiet)
            return signals.exit_status
        finally:
            hint.cancel()
    return signals.exit_status if signals.is_hung_up else 0


def _hint(simulator: Simulator, quiet: bool) -> None:
    """What is waited for, when it takes long."""
    for machine_id, why in simulator.health_problems().items():
        name = simulator.find_machine(machine_id).name
        console.note(f"{name} is not healthy yet: {why}", quiet=quiet)


def _show_events(simulator: Simulator, signals: StopSignals, told: EventPrinter) -> None:
    def show(event: Event) -> None:
        try:
            told.take(event)
        except BrokenPipeError:  # Nobody reads on: the end, and in order.
            unsubscribe()
            console.discard_output()
            signals.hang_up()

    unsubscribe = simulator.bus.subscribe(show)


class EventPrinter:
    """What is told of a running simulator as it happens."""

    def __init__(self, manner: UpOptions) -> None:
        self.is_up = False
        """Before that, machines come and go with the start; what ends it is told at its end."""
        self._manner = manner
        self._last: dict[str, MachineState] = {}
        """Machine -> whether it runs, is stopped or sleeps, as far as that is to be told."""
        self._ill: set[str] = set()
        """Those that run, and fail their checks."""

    def take(self, event: Event) -> None:
        if isinstance(event, MachineLogged | ProxyLogged):
            console.show_log(event, names=self._manner.names)
        elif isinstance(event, MachineStateChanged):
            self._take_state(event)
        elif isinstance(event, MachineHealthChanged):
            self._take_health(event)

    def _take_state(self, event: MachineStateChanged) -> None:
        machine_id, state = event.machine_id, event.after
        self._ill.discard(machine_id)
        before = self._last.get(machine_id)
        if state is MachineState.DESTROYED:
            self._last.pop(machine_id, None)
            self._note(f"{event.name} is gone")
        elif state in _LASTING:
            self._last[machine_id] = state
            self._note(
                f"{event.name} is {state}: {event.reason}" if event.reason else f"{event.name} is {state}"
            )
        elif state is MachineState.STARTED and before is not MachineState.STARTED:
            self._last[machine_id] = state
            self._note(f"{event.name} is {_start_in_words(before, machine_id)}")

    def _take_health(self, event: MachineHealthChanged) -> None:
        if not event.healthy:
            self._ill.add(event.machine_id)
            self._note(f"{event.name} fails its check: {event.reason}")
        elif event.machine_id in self._ill:
            self._ill.discard(event.machine_id)
            self._note(f"{event.name} is healthy again")

    def _note(self, text: str) -> None:
        if self.is_up:
            console.note(text, quiet=self._manner.quiet)


def _start_in_words(before: MachineState | None, machine_id: str) -> str:
    if before is None:
        return f"there, with the id {machine_id}"
    return "resumed" if before is MachineState.SUSPENDED else "started again"


def _show_places(simulator: Simulator, *, leaves_machines: bool) -> None:
    for region, url in simulator.edges.items():
        console.say(f"edge {region:8} {url}")
    for machine in simulator.fleet.machines:
        console.say(
            f"{machine.name:13} {machine.id}  {machine.region}  {_address_of(machine)}  {machine.app}"
        )
    console.say(f"{'control':13} {simulator.control_url}")
    console.say(f"{'page':13} {simulator.control_url}/  (every exchange, hop by hop)")
    first = next(iter(simulator.edges.values()))
    control = "" if simulator.control_url == usual_control_url() else f"--control {simulator.control_url} "
    what = "flysim; its machines run on" if leaves_machines else "everything"
    console.say(f"\nOpen {first}/ — or: flysim trace {control}{first}/ — Ctrl-C stops {what}.\n")


def _address_of(machine: Machine) -> str:
    return f"is {machine.state}" if machine.state in _LASTING else machine.address

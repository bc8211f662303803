"""`flysim up` and `flysim demo`: a fleet, until it is told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import check_writable, demo_config, note_start, read_config, ready_file
from simulator.cli.options import DEFAULT_CONTROL, BackendOption, ConfigOption, QuietOption
from simulator.cli.signals import StopSignals
from simulator.events import Event, MachineLogged, MachineStateChanged, ProxyLogged
from simulator.routing.model import MachineState

if TYPE_CHECKING:
    from simulator.config import Config
    from simulator.runtime import Simulator

ReadyOption = Annotated[
    Path | None,
    typer.Option(
        "--ready-file", metavar="PATH", help="Write where everything is, as JSON, once all is healthy."
    ),
]


def up(
    config: ConfigOption = None,
    ready_file: ReadyOption = None,
    backend: BackendOption = "process",
    quiet: QuietOption = False,
) -> None:
    """Start edges, machines and control API; show the machines' logs; Ctrl-C stops all of it.

    Example: flysim up -c flysim.toml
    """
    _up_until_stopped(config, backend, ready_file, quiet=quiet)


def demo(
    ready_file: ReadyOption = None, backend: BackendOption = "process", quiet: QuietOption = False
) -> None:
    """Start the sample app: one machine in Amsterdam, two in Dallas. Works in any folder.

    Example: flysim demo
    """
    _up_until_stopped(demo_config(), backend, ready_file, quiet=quiet)


def _up_until_stopped(path: Path | None, backend: str, ready: Path | None, *, quiet: bool) -> None:
    check_writable(ready)
    config = read_config(path, backend, quiet=quiet)
    raise typer.Exit(asyncio.run(_up(config, ready, quiet=quiet)))


async def _up(config: Config, ready: Path | None, *, quiet: bool) -> int:
    from simulator.runtime import Simulator

    note_start(config, quiet=quiet)
    simulator, cut_short = Simulator(config), "stopped before all machines were healthy"
    with StopSignals() as signals:
        _show_events(simulator, signals, quiet=quiet)
        try:
            async with simulator:
                signals.ask_politely()
                cut_short = "stopped at once"
                if not quiet:
                    _show_places(simulator)
                with ready_file(ready, simulator):
                    await signals.wait()
                console.note("stopping …", quiet=quiet)
        except asyncio.CancelledError:
            console.note(cut_short, quiet=quiet)
            return signals.exit_status
    return signals.exit_status if signals.is_hung_up else 0


def _show_events(simulator: Simulator, signals: StopSignals, *, quiet: bool) -> None:
    def show(event: Event) -> None:
        try:
            _show(event, quiet=quiet)
        except BrokenPipeError:  # Nobody reads on: the end, and in order.
            unsubscribe()
            console.discard_output()
            signals.hang_up()

    unsubscribe = simulator.bus.subscribe(show)


def _show(event: Event, *, quiet: bool) -> None:
    if isinstance(event, MachineLogged | ProxyLogged):
        console.show_log(event)
    elif isinstance(event, MachineStateChanged) and event.after in (
        MachineState.STOPPED,
        MachineState.FAILED,
    ):
        console.note(f"{event.name} is {event.after}: {event.reason}", quiet=quiet)


def _show_places(simulator: Simulator) -> None:
    for region, url in simulator.edges.items():
        console.say(f"edge {region:8} {url}")
    for machine in simulator.fleet.machines:
        console.say(f"{machine.name:13} {machine.id}  {machine.region}  {machine.address}  {machine.app}")
    console.say(f"{'control':13} {simulator.control_url}")
    first = next(iter(simulator.edges.values()))
    control = "" if simulator.control_url == DEFAULT_CONTROL else f"--control {simulator.control_url} "
    console.say(f"\nOpen {first}/ — or: flysim trace {control}{first}/ — Ctrl-C stops everything.\n")

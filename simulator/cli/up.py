"""`flysim up` and `flysim demo`: a fleet, until it is told to stop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import demo_config, read_config, running, until_stopped, write_ready_file
from simulator.cli.options import BackendOption, ConfigOption, QuietOption
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
    asyncio.run(_up(read_config(config, backend), ready_file, quiet=quiet))


def demo(
    ready_file: ReadyOption = None, backend: BackendOption = "process", quiet: QuietOption = False
) -> None:
    """Start the sample app: one machine in Amsterdam, two in Dallas. Works in any folder.

    Example: flysim demo
    """
    asyncio.run(_up(read_config(demo_config(), backend), ready_file, quiet=quiet))


async def _up(config: Config, ready_file: Path | None, *, quiet: bool) -> None:
    count = len(config.machines)
    console.note(f"starting {count} machine{'s' if count != 1 else ''} …", quiet=quiet)
    try:
        async with running(config) as simulator:
            if not quiet:
                _show_places(simulator)
            simulator.bus.subscribe(_show)
            if ready_file is not None:
                write_ready_file(ready_file, simulator)
            await until_stopped()
            console.note("stopping …", quiet=quiet)
    except asyncio.CancelledError:
        console.note("stopped before all machines were healthy", quiet=quiet)
        raise typer.Exit(130) from None
    finally:
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)


def _show(event: Event) -> None:
    if isinstance(event, MachineLogged | ProxyLogged):
        console.show_log(event)
    elif isinstance(event, MachineStateChanged) and event.after in (
        MachineState.STOPPED,
        MachineState.FAILED,
    ):
        console.note(f"{event.name} is {event.after}: {event.reason}")


def _show_places(simulator: Simulator) -> None:
    for region, url in simulator.edges.items():
        console.say(f"edge {region:8} {url}")
    for machine in simulator.fleet.machines:
        console.say(f"{machine.name:13} {machine.id}  {machine.region}  {machine.address}  {machine.app}")
    console.say(f"{'control':13} {simulator.control_url}")
    first = next(iter(simulator.edges.values()))
    console.say(f"\nOpen {first}/ — or: flysim trace {first}/ — Ctrl-C stops everything.\n")

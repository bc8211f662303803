"""`flysim exec`: a fleet for the time of one command."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.compose_project import open_fleet
from simulator.cli.fleet import note_start, ready_file
from simulator.cli.options import BackendOption, ComposeOption, ConfigOption, QuietOption
from simulator.cli.signals import StopSignals
from simulator.events import Event, MachineLogged, ProxyLogged

if TYPE_CHECKING:
    from simulator.runtime import Simulator

MAY_NOT_BE_RUN = 126
NOT_FOUND = 127
"""Both as a shell has them."""


def exec_command(
    command: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its own arguments.")],
    config: ConfigOption = None,
    backend: BackendOption = "process",
    compose: ComposeOption = None,
    show_logs: Annotated[bool, typer.Option("--logs", help="Show the machines' logs on stderr.")] = False,
    fixed_ports: Annotated[
        bool, typer.Option("--fixed-ports", help="The ports of the config; otherwise, free ones.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Start the fleet, run a command with FLYSIM_* set, stop the fleet; leave with the command's own status.

    Example: flysim exec -- sh -c 'curl -s $FLYSIM_EDGE_AMS/'
    """
    _check(command[0])
    fleet = open_fleet(config, compose, backend, quiet=quiet)
    from simulator.runtime import Simulator

    simulator = Simulator(fleet.config, free_ports=not fixed_ports, backend=fleet.backend)
    simulator.check_ports()
    if show_logs:
        simulator.bus.subscribe(_show)
    raise typer.Exit(asyncio.run(_exec(simulator, command, quiet=quiet)))


def _check(program: str) -> None:
    """No fleet is started for a command that is not there."""
    if shutil.which(program) is not None:
        return
    if Path(program).exists():
        console.complain(f"cannot run {program}: it is no file that may be executed")
        raise typer.Exit(MAY_NOT_BE_RUN)
    console.complain(f"cannot run {program}: there is no such command")
    raise typer.Exit(NOT_FOUND)


async def _exec(simulator: Simulator, command: list[str], *, quiet: bool) -> int:
    from simulator.scenario import simulator_variables

    note_start(simulator.config, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="flysim-") as folder, StopSignals() as signals:
        ready = Path(folder) / "ready.json"
        try:
            async with simulator:
                with ready_file(ready, simulator):
                    return await _run(command, simulator_variables(simulator, ready), signals)
        except asyncio.CancelledError:
            console.note(f"stopped before {command[0]} had ended", quiet=quiet)
            return signals.exit_status


async def _run(command: list[str], variables: dict[str, str], signals: StopSignals) -> int:
    """Signals that end us are the command's to answer: it gets them, and we leave when it does."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | variables)
    except OSError as error:
        console.complain(f"cannot run {command[0]}: {error.strerror}")
        return MAY_NOT_BE_RUN
    signals.pass_on(lambda number: _pass_on(process, number))
    status = await process.wait()
    signals.insist()
    return status if status >= 0 else 128 - status


def _pass_on(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Ctrl-C on a terminal has reached the command already; the others came to us alone.
    if process.returncode is None and not (number is signal.SIGINT and _has_terminal()):
        process.send_signal(number)


def _has_terminal() -> bool:
    """Whether there is a terminal on which Ctrl-C can be pressed."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _show(event: Event) -> None:
    if isinstance(event, MachineLogged | ProxyLogged):
        console.show_log(event, on=console.err)

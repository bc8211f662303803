"""`flysim exec`: a fleet that runs for the duration of one command."""

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
from simulator.cli.fleet import print_start, ready_file
from simulator.cli.options import BackendOption, ComposeOption, ConfigOption, QuietOption
from simulator.cli.signals import StopSignals
from simulator.events import Event, MachineLogged, ProxyLogged
from simulator.file_limit import restore_file_limit

if TYPE_CHECKING:
    from simulator.runtime import Simulator

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses with which a shell reports these two errors."""


def exec_command(
    command: Annotated[
        list[str], typer.Argument(metavar="CMD", help="The command to run, with its own arguments.")
    ],
    config: ConfigOption = None,
    backend: BackendOption = "process",
    compose: ComposeOption = None,
    show_logs: Annotated[bool, typer.Option("--logs", help="Show the machines' logs on stderr.")] = False,
    fixed_ports: Annotated[
        bool, typer.Option("--fixed-ports", help="Listen on the ports of the config instead of free ones.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Start the fleet, run a command against it, then stop the fleet.

    The command gets the addresses in the variables FLYSIM_EDGE_<REGION>, FLYSIM_CONTROL and others. The exit code
    is that of the command.

    Example: flysim exec -- sh -c 'curl -s $FLYSIM_EDGE_AMS/'
    """
    _check_program(command[0])
    fleet = open_fleet(config, compose, backend, quiet=quiet)
    from simulator.runtime import Simulator

    simulator = Simulator(fleet.config, free_ports=not fixed_ports, backend=fleet.backend)
    simulator.check_ports()
    if show_logs:
        simulator.bus.subscribe(_print_log)
    raise typer.Exit(asyncio.run(_exec(simulator, command, quiet=quiet)))


def _check_program(program: str) -> None:
    """Exit before a fleet is started for a command that cannot run."""
    if shutil.which(program) is not None:
        return
    if Path(program).exists():
        console.print_error(f"cannot run {program}: not an executable file")
        raise typer.Exit(NOT_EXECUTABLE)
    console.print_error(f"cannot run {program}: command not found")
    raise typer.Exit(NOT_FOUND)


async def _exec(simulator: Simulator, command: list[str], *, quiet: bool) -> int:
    from simulator.scenario import simulator_variables

    print_start(simulator.config, quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="flysim-") as folder, StopSignals() as signals:
        ready = Path(folder) / "ready.json"
        try:
            async with simulator:
                with ready_file(ready, simulator):
                    return await _run(command, simulator_variables(simulator, ready), signals)
        except asyncio.CancelledError:
            console.print_note(f"stopped before {command[0]} finished", quiet=quiet)
            return signals.exit_status


async def _run(command: list[str], variables: dict[str, str], signals: StopSignals) -> int:
    """Forward stop signals to the command; flysim stops when the command does."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | variables)
    except OSError as error:
        console.print_error(f"cannot run {command[0]}: {error.strerror}")
        return NOT_EXECUTABLE
    restore_file_limit(process.pid)
    signals.forward_to(lambda number: _forward(process, number))
    status = await process.wait()
    signals.cancel_on_signal()
    return status if status >= 0 else 128 - status


def _forward(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # The terminal sends Ctrl-C to the command itself. Other signals reach only flysim.
    if process.returncode is None and not (number is signal.SIGINT and _has_terminal()):
        process.send_signal(number)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _print_log(event: Event) -> None:
    if isinstance(event, MachineLogged | ProxyLogged):
        console.print_log_line(event, on=console.err)

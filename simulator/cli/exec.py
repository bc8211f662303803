"""`flysim exec`: a fleet for the time of one command."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import STOP_SIGNALS, environment, read_config, running, write_ready_file
from simulator.cli.options import BackendOption, ConfigOption, QuietOption
from simulator.errors import InputError
from simulator.events import Event, MachineLogged, ProxyLogged

if TYPE_CHECKING:
    from simulator.config import Config

NOT_FOUND = 127


def exec_command(
    context: typer.Context,
    config: ConfigOption = None,
    backend: BackendOption = "process",
    show_logs: Annotated[bool, typer.Option("--logs", help="Show the machines' logs on stderr.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Start the fleet, run a command with FLYSIM_* set, stop the fleet; leave with the command's own status.

    Example: flysim exec -- sh -c 'curl -s $FLYSIM_EDGE_AMS/'
    """
    command = context.args
    if not command:
        raise InputError("there is no command to run", expected="flysim exec [-c FILE] -- CMD…")
    status = asyncio.run(_exec(read_config(config, backend), command, show_logs=show_logs, quiet=quiet))
    raise typer.Exit(status)


async def _exec(config: Config, command: list[str], *, show_logs: bool, quiet: bool) -> int:
    console.note(f"starting {len(config.machines)} machines …", quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="flysim-") as folder:
        ready = Path(folder) / "ready.json"
        try:
            async with running(config) as simulator:
                if show_logs:
                    simulator.bus.subscribe(_show)
                write_ready_file(ready, simulator)
                return await _run(command, environment(simulator, ready))
        except asyncio.CancelledError:
            return 130


async def _run(command: list[str], variables: dict[str, str]) -> int:
    """Signals that end us are the command's to answer: it gets them, and we leave when it does."""
    try:
        process = await asyncio.create_subprocess_exec(*command, env=variables)
    except OSError as error:
        console.complain(f"cannot run {command[0]}: {error.strerror}")
        return NOT_FOUND
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, _pass_on, process, number)
    status = await process.wait()
    return status if status >= 0 else 128 - status


def _pass_on(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    # Ctrl-C on a terminal has reached the command already; the others came to us alone.
    if number is not signal.SIGINT and process.returncode is None:
        process.send_signal(number)


def _show(event: Event) -> None:
    if isinstance(event, MachineLogged):
        console.err.print(f"{event.region} {event.line}", markup=False)
    elif isinstance(event, ProxyLogged):
        console.err.print(
            f"proxy[{event.machine_id}] {event.region} [{event.level}] {event.message}", markup=False
        )

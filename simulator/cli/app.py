"""`flysim`: the table of commands, and what becomes of an error.

Exit status: 0 passed, 1 an expectation failed, 2 a command or file is wrong, 3 the environment, 4 a fault of the
simulator. A traceback never reaches the user: it goes into a file that the message names.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from simulator.cli import console
from simulator.cli.exec import exec_command
from simulator.cli.remote import logs, machine_commands, status
from simulator.cli.run import run
from simulator.cli.trace import trace
from simulator.cli.up import demo, up
from simulator.errors import SimulatorError

INTERRUPTED = 130
FAULT = 4


def _show_version(wanted: bool) -> None:
    if wanted:
        console.say(f"flysim {metadata.version('flysim')}")
        raise typer.Exit


app = typer.Typer(
    name="flysim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="And leave.")
    ] = False,
) -> None:
    """A local, multi-machine simulator of Fly.io's proxy and its fly-replay header."""


app.command()(up)
app.command()(demo)
app.command()(run)
app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(exec_command)
app.command()(trace)
app.add_typer(machine_commands, name="machine")
app.command()(logs)
app.command()(status)


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    try:
        app()
    except SimulatorError as error:
        console.complain(str(error))
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough
        sys.exit(0)
    except Exception as error:
        console.complain(_describe_fault(error))
        sys.exit(FAULT)
    sys.exit(0)


def _describe_fault(error: Exception) -> str:
    with tempfile.NamedTemporaryFile("w", prefix="flysim-fault-", suffix=".txt", delete=False) as file:
        file.write("".join(traceback.format_exception(error)))
    return f"this is a fault of flysim itself: {type(error).__name__}: {error}\n  where it arose: {file.name}"

"""`flysim`: the table of commands, and what becomes of an error.

Exit status: 0 passed, 1 an expectation failed, 2 a command or file is wrong, 3 the environment, 4 a fault of the
simulator; 128 and its number after a signal. A traceback never reaches the user: it goes into a file that the
message names.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from simulator.cli import console
from simulator.cli.exec import exec_command
from simulator.cli.init import init
from simulator.cli.remote import logs, machine_commands, status
from simulator.cli.run import run
from simulator.cli.schema import schema
from simulator.cli.stack import stack
from simulator.cli.trace import trace
from simulator.cli.up import demo, up
from simulator.crash_report import CRASHED, describe_crash
from simulator.errors import SimulatorError

INTERRUPTED = 130
NOBODY_READS = 141
"""128 and the number of SIGPIPE: 0 would say that all went well, 1 that an expectation failed."""


class Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """As any group's, but whoever reads our output may stop to; Typer would leave with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            console.discard_output()
            raise typer.Exit(NOBODY_READS) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As any group's, but whoever leaves out `machine` is told so."""
        if args and args[0] not in self.commands and args[0] in _machine_verbs(self):
            ctx.fail(f"No such command '{args[0]}'. Did you mean 'flysim machine {args[0]}'?")
        return super().resolve_command(ctx, args)


def _machine_verbs(commands: TyperGroup) -> Container[str]:
    verbs: Container[str] = getattr(commands.commands["machine"], "commands", {})
    return verbs


def _show_version(wanted: bool) -> None:
    if wanted:
        console.say(f"flysim {_version()}")
        raise typer.Exit


def _version() -> str:
    try:
        return metadata.version("flysim")
    except metadata.PackageNotFoundError:
        return "from a checkout, not installed"


app = typer.Typer(
    name="flysim",
    cls=Commands,
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
# What comes after the first word of CMD is CMD's own, also what looks like an option of ours.
app.command("exec", context_settings={"allow_interspersed_args": False})(exec_command)
app.command()(trace)
app.add_typer(machine_commands, name="machine")
app.command()(logs)
app.command()(status)
app.command()(init)
app.command()(stack)
app.command()(schema)


def main() -> NoReturn:
    """Run the command line and leave with its exit status."""
    console.accept_any_text()
    _leave(_run())


def _run() -> int:
    try:
        app()
    except SimulatorError as error:
        console.complain(str(error))
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        console.complain(describe_crash(error))
        return CRASHED
    return 0


def _leave(status: int) -> NoReturn:
    if "mitmproxy_rs" not in sys.modules:
        sys.exit(status)
    # Its threads may wait for Python's lock at the end, and before Python 3.14 the interpreter unwinds them, Rust
    # frames and all: now and then a segmentation fault, in the place of our exit status.
    with suppress(BrokenPipeError, AttributeError):  # AttributeError: stdout was closed before we came.
        sys.stdout.flush()
    os._exit(status)

"""The `flysim` command: its subcommands, and the exit status of each kind of error.

Exit status: 0 success, 1 an expectation failed, 2 a command or file is invalid, 3 a problem in the environment, 4 a bug
in flysim, 128 plus the number of a signal. A traceback never reaches the terminal: it is written to a file that the
message names.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, NamedTuple, NoReturn, cast

import typer
from typer.core import TyperGroup

from simulator.cli import BROKEN_PIPE, VERSION_TEXT
from simulator.errors import SimulatorError

INTERRUPTED = 130
_EXAMPLE = "Example:"


class LazyCommand(NamedTuple):
    """A command whose module is imported when it is used."""

    module: str
    """In `simulator.cli`."""
    name: str
    """Of the function, or of the `typer.Typer` with subcommands."""
    help: str
    """The first line of the command's own help, for `flysim --help`. A test checks that they are equal."""
    context_settings: Mapping[str, Any] = {}

    def load(self) -> Any:
        target = getattr(importlib.import_module(f"simulator.cli.{self.module}"), self.name)
        if not isinstance(target, typer.Typer):
            function, target = target, _make_typer()
            target.command(context_settings=dict(self.context_settings))(function)
        command = typer.main.get_command(target)
        _move_example_to_end(command)
        return command


COMMANDS = {
    "up": LazyCommand("up", "up", "Start edges, machines and control API, and show all logs."),
    "demo": LazyCommand("up", "demo", "Start the sample app: one machine in Amsterdam, two in Dallas."),
    "run": LazyCommand("run", "run", "Run scenario files and report the results."),
    "exec": LazyCommand(
        "exec",
        "exec_command",
        "Start the fleet, run a command against it, then stop the fleet.",
        # Everything after the first word of CMD belongs to CMD, even if it looks like an option of flysim.
        {"allow_interspersed_args": False},
    ),
    "trace": LazyCommand("trace", "trace", "Send one request and show each hop it takes."),
    "machine": LazyCommand("remote", "machine_commands", "Manage the machines of a running simulator."),
    "logs": LazyCommand("remote", "logs", "Show the latest log lines of the machines and the proxy."),
    "status": LazyCommand("remote", "status", "Show the edges and the state of every machine."),
    "init": LazyCommand("init", "init", "Write a flysim.toml and a first scenario for this folder's app."),
    "stack": LazyCommand("stack", "stack", "Print the fleet as a stack file for Docker Swarm."),
    "schema": LazyCommand("schema", "schema", "Print a JSON Schema: of scenarios, config or run reports."),
}


class _CommandsByName(Mapping[str, Any]):
    """The commands by name. Reading a value imports the command, listing the names does not."""

    def __init__(self) -> None:
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = COMMANDS[name].load()
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in COMMANDS

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Commands(TyperGroup):
    """The group of all commands. `flysim --help` is printed from the table, without importing any of them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast("Any", _CommandsByName())

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        """Exit as a shell reports SIGPIPE if the reader of our output closes it. Typer would exit with 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _discard_stdout()
            raise typer.Exit(BROKEN_PIPE) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Suggest `flysim machine stop` for `flysim stop`."""
        if args and args[0] not in self.commands and args[0] in self.commands["machine"].commands:  # type: ignore[attr-defined]
            ctx.fail(f"No such command '{args[0]}'. Did you mean 'flysim machine {args[0]}'?")
        return super().resolve_command(ctx, args)


def _make_typer(**settings: Any) -> typer.Typer:
    # Plain help instead of Rich's panels: importing Rich takes as long as all the rest of `flysim --help`.
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )


def _move_example_to_end(command: Any) -> None:
    """Show the example of a docstring after the options. `\\b` keeps its lines as they are."""
    help_text, _, example = (command.help or "").partition(f"{_EXAMPLE} ")
    if example:
        command.help = help_text.strip()
        command.epilog = f"\b\n{_EXAMPLE}\n  {example.strip()}"
    for subcommand in getattr(command, "commands", {}).values():
        _move_example_to_end(subcommand)


def _discard_stdout() -> None:
    from simulator.cli import console

    console.discard_stdout()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION_TEXT)
        raise typer.Exit


app = _make_typer(
    name="flysim",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Run 'flysim COMMAND --help' for the options of a command and an example.",
)


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit."),
    ] = False,
) -> None:
    """A local, multi-machine simulator of Fly.io's proxy and its fly-replay header."""


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    _replace_unencodable_characters()
    _exit(_run())


def _replace_unencodable_characters() -> None:
    """Print a question mark for a character that the encoding of stdout lacks, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _run() -> int:
    try:
        app()
    except SimulatorError as error:
        _print_error(str(error))
        return error.exit_status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        from simulator.crash_report import CRASHED, describe_crash

        _print_error(describe_crash(error))
        return CRASHED
    return 0


def _print_error(text: str) -> None:
    from simulator.cli import console

    console.print_error(text)


def _exit(status: int) -> NoReturn:
    """After an event loop, skip the interpreter's own shutdown, in which another Ctrl-C would change the status."""
    if "asyncio" not in sys.modules:
        sys.exit(status)
    if sys.stdout is not None:  # None if stdout was closed before flysim started.
        with suppress(BrokenPipeError):
            sys.stdout.flush()
    os._exit(status)

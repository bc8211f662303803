"""`flysim init`: a flysim.toml and a first scenario for the app in this folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import write_file
from simulator.cli.init_templates import InitTemplate, find_app, needs_command
from simulator.cli.options import QuietOption
from simulator.errors import InputError

_CONFIG = Path("flysim.toml")
_SCENARIO = Path("scenarios") / "first.yaml"


def init(
    command: Annotated[
        str | None, typer.Option("--command", metavar="CMD", help="What starts one machine, as 'npm start'.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a flysim.toml and a first scenario for the app in this folder, from its fly.toml where there is one.

    Example: flysim init --command 'python app.py'
    """
    folder = Path()
    starter = _read_folder(folder, command, force=force)
    _SCENARIO.parent.mkdir(exist_ok=True)
    write_file(_CONFIG, starter.config_text())
    write_file(_SCENARIO, starter.scenario_text(f"../{_CONFIG}"))
    _check(quiet=quiet)
    if not quiet:
        console.say(f"{_CONFIG} and {_SCENARIO} are written. Next: flysim up, flysim run {_SCENARIO.parent}")


def _read_folder(folder: Path, command: str | None, *, force: bool) -> InitTemplate:
    """Raises InputError before anything is written."""
    from simulator.config.fly.reader import find_fly_toml
    from simulator.config.problems import Problems

    there = [path for path in (_CONFIG, _SCENARIO) if path.exists()]
    if there and not force:
        raise InputError(f"{there[0]} is there already", expected="no such file, or --force to write over it")
    starter = find_app(folder, command)
    if starter.has_fly_toml:
        problems = Problems()
        find_fly_toml(folder / "fly.toml", problems)
        problems.raise_if_any()
    if needs_command(starter, folder):
        raise InputError(
            "no Procfile, package.json, CMD of a Dockerfile or [processes] of a fly.toml says how to start the app",
            expected="--command 'python app.py', or whatever starts it on the port in PORT",
        )
    return starter


def _check(*, quiet: bool) -> None:
    """Raises InputError for what has been written, should it be wrong."""
    from simulator.cli.fleet import read_config
    from simulator.scenario import load_scenario

    read_config(_CONFIG, "process", quiet=quiet)
    load_scenario(_SCENARIO)

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
        str | None,
        typer.Option(
            "--command", metavar="CMD", help="The command that starts one machine, such as 'npm start'."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Write a flysim.toml and a first scenario for this folder's app.

    The app's name, region and health check come from its fly.toml, the start command from its Procfile, package.json
    or Dockerfile.

    Example: flysim init --command 'python app.py'
    """
    folder = Path()
    template = _read_folder(folder, command, force=force)
    _SCENARIO.parent.mkdir(exist_ok=True)
    write_file(_CONFIG, template.config_text())
    write_file(_SCENARIO, template.scenario_text(f"../{_CONFIG}"))
    _check_written_files(quiet=quiet)
    if not quiet:
        console.print_line(
            f"Wrote {_CONFIG} and {_SCENARIO}. Next: flysim up, or flysim run {_SCENARIO.parent}"
        )


def _read_folder(folder: Path, command: str | None, *, force: bool) -> InitTemplate:
    """Raises InputError before anything is written."""
    from simulator.config.fly.reader import read_fly_toml
    from simulator.config.problems import Problems

    existing = [path for path in (_CONFIG, _SCENARIO) if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} already exists", expected="--force, which overwrites it")
    template = find_app(folder, command)
    if template.has_fly_toml:
        problems = Problems()
        read_fly_toml(folder / "fly.toml", problems)
        problems.raise_if_any()
    if needs_command(template, folder):
        raise InputError(
            "no start command in a Procfile, in package.json, in CMD of a Dockerfile, or in [processes] of fly.toml",
            expected="--command 'python app.py', or the command that starts your app on the port in PORT",
        )
    return template


def _check_written_files(*, quiet: bool) -> None:
    """Raises InputError if the values taken from the folder make the written files invalid."""
    from simulator.cli.fleet import read_config
    from simulator.scenario import load_scenario

    read_config(_CONFIG, "process", quiet=quiet)
    load_scenario(_SCENARIO)

"""`flysim stack`: the fleet as a stack file for `docker stack deploy`."""

from __future__ import annotations

from typing import Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import read_config
from simulator.cli.options import ConfigOption, QuietOption


def stack(
    config: ConfigOption = None,
    placement: Annotated[
        bool,
        typer.Option(
            "--placement", help="Place each machine on a node whose label fly.region is its region."
        ),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Print the fleet as a stack file for Docker Swarm.

    `flysim up --backend swarm:NAME` routes to the deployed stack.

    Example: flysim stack | docker stack deploy --compose-file - fleet
    """
    from simulator.machines.swarm import render_stack, services_of

    fleet = read_config(config, "swarm", quiet=quiet)
    console.write(render_stack(services_of(fleet), placed=placement))

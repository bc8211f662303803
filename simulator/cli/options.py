"""Options that several commands take, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simulator.machines import BACKENDS

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", metavar="FILE", help="Default: flysim.toml in this folder, else fly.toml alone."
    ),
]
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="|".join(BACKENDS),
        help="What the machines are: processes, containers, tasks of a swarm. swarm:NAME: those of a stack.",
    ),
]
ComposeOption = Annotated[
    Path | None,
    typer.Option(
        "--compose",
        metavar="FILE",
        help="Take the containers of this Compose file that have a fly.region label.",
    ),
]
ListenOption = Annotated[
    str,
    typer.Option("--listen", metavar="ADDRESS", help="Where edges and names are to be had; any: everywhere."),
]
DnsPortOption = Annotated[
    int | None,
    typer.Option(
        "--dns-port", metavar="PORT", min=1, max=65535, help="Of the name server.", show_default="a free one"
    ),
]
PublishedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--published", metavar="PORT:OUTSIDE", help="In a container: what a port is published as. Repeatable."
    ),
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="Only results, no word about progress.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ControlOption = Annotated[
    str,
    typer.Option(
        "--control",
        metavar="URL",
        envvar="FLYSIM_CONTROL",
        help="The control API of the running simulator.",
        show_default="the port under [control] in ./flysim.toml, else http://127.0.0.1:4280",
    ),
]
OF_THIS_FOLDER = ""
"""The control API of a simulator that runs with this folder's flysim.toml, or on the usual port."""
NamesOption = Annotated[
    bool, typer.Option("--names", help="Names of machines before their log lines, not only regions.")
]
FreePortsOption = Annotated[
    bool, typer.Option("--free-ports", help="Take free ports, whatever the config says.")
]

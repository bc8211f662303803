"""Command line options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "-c",
        "--config",
        metavar="FILE",
        help="The config file.",
        show_default="flysim.toml in this folder, else fly.toml",
    ),
]
# The names of simulator.machines.BACKENDS. Importing them from there would load the backends themselves.
BACKEND_NAMES = "process|docker|swarm[:NAME]"
BackendOption = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar=BACKEND_NAMES,
        help="Run the machines as processes, containers or swarm tasks. swarm:NAME uses a deployed stack.",
    ),
]
ComposeOption = Annotated[
    Path | None,
    typer.Option(
        "--compose",
        metavar="FILE",
        help="Use the containers of this Compose file that have a fly.region label as machines.",
    ),
]
ListenOption = Annotated[
    str,
    typer.Option(
        "--listen",
        metavar="ADDRESS",
        help="The address on which the edges and the name server listen; 'any' for all addresses. "
        "The control API stays on 127.0.0.1.",
    ),
]
ControlListenOption = Annotated[
    str | None,
    typer.Option(
        "--control-listen",
        metavar="ADDRESS",
        help="Open the control API on this address, too; 'any' for all addresses. Clients need the token that flysim "
        "prints, or that of FLYSIM_CONTROL_TOKEN. The control API can stop and destroy machines and shows all logs.",
        show_default="127.0.0.1 only, without a token",
    ),
]
DnsPortOption = Annotated[
    int | None,
    typer.Option(
        "--dns-port",
        metavar="PORT",
        min=1,
        max=65535,
        help="The port of the name server.",
        show_default="a free port",
    ),
]
PublishedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--published",
        metavar="PORT:OUTSIDE",
        help="In a container: a port of flysim, and the host port that it is published as. Repeatable.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("-q", "--quiet", help="Print results only, no progress or warnings.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ControlOption = Annotated[
    str,
    typer.Option(
        "--control",
        metavar="URL",
        envvar="FLYSIM_CONTROL",
        help="The control API of the running simulator; with ?token=TOKEN if it requires one.",
        show_default="the port under [control] in ./flysim.toml, else http://127.0.0.1:4280",
    ),
]
DEFAULT_CONTROL = ""
"""The control API of a simulator that runs with this folder's flysim.toml, or on the default port."""
NamesOption = Annotated[
    bool, typer.Option("--names", help="Begin each log line with the machine's name instead of its region.")
]
FreePortsOption = Annotated[
    bool, typer.Option("--free-ports", help="Listen on free ports instead of those in the config.")
]

"""Commands that act on a simulator which is running already, through its control API."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from simulator.cli import console
from simulator.cli.control import Control
from simulator.cli.options import OF_THIS_FOLDER, ControlOption, JsonOption, NamesOption, QuietOption
from simulator.errors import EnvironmentFault

MachineArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name, as dfw-1, or its id.")]

_ON_THE_WAY = ("created", "starting")

machine_commands = typer.Typer(
    help="Act on the machines of a running simulator. Example: flysim machine stop dfw-1",
    no_args_is_help=True,
)


@machine_commands.command("list")
def list_machines(control: ControlOption = OF_THIS_FOLDER, as_json: JsonOption = False) -> None:
    """All machines with their state.

    Example: flysim machine list --json
    """
    _show_machines(Control(control).get("/_flysim/status")["machines"], as_json=as_json)


def _show_machines(machines: list[dict[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        console.say(json.dumps(machines, indent=2))
        return
    for machine in machines:
        notes = [] if machine["healthy"] or machine["state"] != "started" else [_health_problem(machine)]
        notes += ["cordoned"] if machine["cordoned"] else []
        state = ", ".join([machine["state"], *notes])
        address = "-" if machine["state"] == "stopped" else machine["address"]
        console.say(
            f"{machine['name']:10} {machine['id']:14}  {machine['region']:4} {machine['app']:12} {address:22} {state}"
        )


def _health_problem(machine: dict[str, Any]) -> str:
    return f"unhealthy: {machine['problem']}" if "problem" in machine else "unhealthy"


def _act(control: str, key: str, verb: str, done: str, *, quiet: bool) -> None:
    api = Control(control)
    machine = api.find_machine(key)
    api.post(f"/v1/apps/{machine['app']}/machines/{machine['id']}/{verb}")
    _say_done(machine, done, quiet=quiet)


def _say_done(machine: dict[str, Any], done: str, *, quiet: bool) -> None:
    if not quiet:
        console.say(f"{machine['name']} {machine['id']} {done}")


@machine_commands.command()
def start(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """Start or resume it, and wait until it is healthy.

    Example: flysim machine start dfw-1
    """
    _act(control, machine, "start", "is started", quiet=quiet)


@machine_commands.command()
def stop(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """Its kill signal, then after its kill timeout the end.

    Example: flysim machine stop dfw-1
    """
    _act(control, machine, "stop", "is stopped", quiet=quiet)


@machine_commands.command()
def suspend(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """Freeze it; start resumes it.

    Example: flysim machine suspend dfw-1
    """
    _act(control, machine, "suspend", "is suspended", quiet=quiet)


@machine_commands.command()
def cordon(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """Deliver nothing new to it.

    Example: flysim machine cordon dfw-1
    """
    _act(control, machine, "cordon", "is cordoned", quiet=quiet)


@machine_commands.command()
def uncordon(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """Deliver to it again.

    Example: flysim machine uncordon dfw-1
    """
    _act(control, machine, "uncordon", "is not cordoned any more", quiet=quiet)


@machine_commands.command()
def kill(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """End it at once, as kill -9 does.

    Example: flysim machine kill dfw-1
    """
    api = Control(control)
    found = api.find_machine(machine)
    api.post(f"/_flysim/machines/{found['id']}/kill")
    _say_done(found, "is killed", quiet=quiet)


@machine_commands.command()
def destroy(
    machine: MachineArgument, control: ControlOption = OF_THIS_FOLDER, quiet: QuietOption = False
) -> None:
    """End it and forget it.

    Example: flysim machine destroy dfw-1
    """
    api = Control(control)
    found = api.find_machine(machine)
    api.delete(f"/v1/apps/{found['app']}/machines/{found['id']}", force="true")
    _say_done(found, "is destroyed", quiet=quiet)


@machine_commands.command()
def clone(
    machine: MachineArgument,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Where the new one runs; default: beside the first.")
    ] = None,
    control: ControlOption = OF_THIS_FOLDER,
    quiet: QuietOption = False,
) -> None:
    """Another machine like this one.

    Example: flysim machine clone dfw-1 --region lhr
    """
    api = Control(control)
    found = api.find_machine(machine)
    made = api.post(f"/_flysim/machines/{found['id']}/clone", {"region": region} if region else None)
    _say_done(made, "is started", quiet=quiet)


def status(
    control: ControlOption = OF_THIS_FOLDER,
    as_json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Leave with 3 unless every machine that runs is routed to.")
    ] = False,
) -> None:
    """Where the edges are, and the state of every machine.

    Example: flysim status
    """
    found = Control(control).get("/_flysim/status")
    if check:
        _check(found["machines"])
    if as_json:
        console.say(json.dumps(found, indent=2))
        return
    for region, url in found["edges"].items():
        console.say(f"edge {region:5} {url}")
    console.say(f"{'control':10} {found['control']}")
    _show_machines(found["machines"])


def _check(machines: list[dict[str, Any]]) -> None:
    """Raises EnvironmentFault that names the machines which are on their way, or ill."""
    ill = [
        f"{machine['name']} ({_health_problem(machine) if machine['state'] == 'started' else machine['state']})"
        for machine in machines
        if machine["state"] in _ON_THE_WAY or (machine["state"] == "started" and not machine["healthy"])
    ]
    if ill:
        raise EnvironmentFault(f"not routed to: {', '.join(ill)}")


def logs(
    machine: Annotated[
        str | None, typer.Argument(metavar="[MACHINE]", help="Only of this one, or of all in this region.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
    names: NamesOption = False,
    control: ControlOption = OF_THIS_FOLDER,
) -> None:
    """The latest log lines of the machines and the proxy.

    Example: flysim logs dfw-1 --follow
    """
    api = Control(control)
    region = machine if machine in _regions_of(api, machine) else None
    wanted = {} if machine is None or region else {"machine": _logged_as(api, machine)}
    lines = (
        api.follow("/_flysim/logs", follow="true", **wanted) if follow else api.get("/_flysim/logs", **wanted)
    )
    shown = 0
    for line in lines:
        if region in (None, line["region"]):
            shown += 1
            _show_line(line, names=names)
    if not shown:
        console.note(_nothing_logged(machine))


def _nothing_logged(machine: str | None) -> str:
    which = machine or "a machine"
    return f"no line so far; if {which} runs outside flysim, its lines are where it runs, as in docker compose logs"


def _regions_of(api: Control, key: str | None) -> set[str]:
    """None has to be asked for where a machine is meant: names have a dash, ids are longer."""
    if key is None or not re.fullmatch("[a-z]{3}", key):
        return set()
    return {str(machine["region"]) for machine in api.get("/_flysim/status")["machines"]}


def _logged_as(api: Control, key: str) -> str:
    """A name is the log's to find; with the app in front only we know which machine is meant."""
    return str(api.find_machine(key)["id"]) if "/" in key else key


def _show_line(line: dict[str, Any], *, names: bool) -> None:
    if line["type"] == "MachineLogged":
        console.show_machine_line(line["name"] if names else line["region"], line["line"])
    else:
        console.show_proxy_line(line["machine_id"], line["region"], line["level"], line["message"])

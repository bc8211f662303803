"""Commands that use the control API of a running simulator: `machine`, `status` and `logs`."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

import typer

from simulator.cli import console
from simulator.cli.control import ControlClient
from simulator.cli.options import DEFAULT_CONTROL, ControlOption, JsonOption, NamesOption, QuietOption
from simulator.errors import EnvironmentFault

MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="The machine's name, such as dfw-1, or its id.")
]

_BOOTING = ("created", "starting")

machine_commands = typer.Typer(
    help="Manage the machines of a running simulator.\n\nExample: flysim machine stop dfw-1",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@machine_commands.command("list")
def list_machines(control: ControlOption = DEFAULT_CONTROL, as_json: JsonOption = False) -> None:
    """List all machines with region, app, address and state.

    Example: flysim machine list --json
    """
    _print_machines(ControlClient(control).get("/_flysim/status")["machines"], as_json=as_json)


def _print_machines(machines: list[dict[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        console.print_line(json.dumps(machines, indent=2))
        return
    for machine in machines:
        notes = [] if machine["healthy"] or machine["state"] != "started" else [_health_problem(machine)]
        notes += ["cordoned"] if machine["cordoned"] else []
        state = ", ".join([machine["state"], *notes])
        address = "-" if machine["state"] == "stopped" else machine["address"]
        console.print_line(
            f"{machine['name']:10} {machine['id']:14}  {machine['region']:4} {machine['app']:12} {address:22} {state}"
        )


def _health_problem(machine: dict[str, Any]) -> str:
    return f"unhealthy: {machine['problem']}" if "problem" in machine else "unhealthy"


def _act(control: str, key: str, action: str, result: str, *, quiet: bool) -> None:
    api = ControlClient(control)
    machine = api.find_machine(key)
    api.post(f"/v1/apps/{machine['app']}/machines/{machine['id']}/{action}")
    _print_done(machine, result, quiet=quiet)


def _print_done(machine: dict[str, Any], result: str, *, quiet: bool) -> None:
    if not quiet:
        console.print_line(f"{machine['name']} {machine['id']} {result}")


@machine_commands.command()
def start(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Start or resume a machine, and wait until it is healthy.

    Example: flysim machine start dfw-1
    """
    _act(control, machine, "start", "is started", quiet=quiet)


@machine_commands.command()
def stop(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Stop a machine; kill it after its kill timeout.

    Example: flysim machine stop dfw-1
    """
    _act(control, machine, "stop", "is stopped", quiet=quiet)


@machine_commands.command()
def suspend(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Suspend a machine. `flysim machine start` resumes it.

    Example: flysim machine suspend dfw-1
    """
    _act(control, machine, "suspend", "is suspended", quiet=quiet)


@machine_commands.command()
def cordon(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Cordon a machine: the proxy sends it no new requests.

    Example: flysim machine cordon dfw-1
    """
    _act(control, machine, "cordon", "is cordoned", quiet=quiet)


@machine_commands.command()
def uncordon(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Uncordon a machine: the proxy sends it requests again.

    Example: flysim machine uncordon dfw-1
    """
    _act(control, machine, "uncordon", "is uncordoned", quiet=quiet)


@machine_commands.command()
def kill(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Kill a machine immediately, like kill -9.

    Example: flysim machine kill dfw-1
    """
    api = ControlClient(control)
    found = api.find_machine(machine)
    api.post(f"/_flysim/machines/{found['id']}/kill")
    _print_done(found, "is killed", quiet=quiet)


@machine_commands.command()
def destroy(
    machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL, quiet: QuietOption = False
) -> None:
    """Destroy a machine: kill it and remove it from the fleet.

    Example: flysim machine destroy dfw-1
    """
    api = ControlClient(control)
    found = api.find_machine(machine)
    api.delete(f"/v1/apps/{found['app']}/machines/{found['id']}", force="true")
    _print_done(found, "is destroyed", quiet=quiet)


@machine_commands.command()
def clone(
    machine: MachineArgument,
    region: Annotated[
        str | None,
        typer.Option(metavar="REGION", help="The region of the new machine.", show_default="that of MACHINE"),
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
    quiet: QuietOption = False,
) -> None:
    """Start another machine with the same settings.

    Example: flysim machine clone dfw-1 --region lhr
    """
    api = ControlClient(control)
    found = api.find_machine(machine)
    clone = api.post(f"/_flysim/machines/{found['id']}/clone", {"region": region} if region else None)
    _print_done(clone, "is started", quiet=quiet)


def status(
    control: ControlOption = DEFAULT_CONTROL,
    as_json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 3 unless flysim routes to every running machine.")
    ] = False,
) -> None:
    """Show the edges and the state of every machine.

    Example: flysim status
    """
    found = ControlClient(control).get("/_flysim/status")
    if check:
        _check_health(found["machines"])
    if as_json:
        console.print_line(json.dumps(found, indent=2))
        return
    for region, url in found["edges"].items():
        console.print_line(f"edge {region:5} {url}")
    console.print_line(f"{'control':10} {found['control']}")
    _print_machines(found["machines"])


def _check_health(machines: list[dict[str, Any]]) -> None:
    """Raises EnvironmentFault that names the machines that are starting or unhealthy."""
    unhealthy = [
        f"{machine['name']} ({_health_problem(machine) if machine['state'] == 'started' else machine['state']})"
        for machine in machines
        if machine["state"] in _BOOTING or (machine["state"] == "started" and not machine["healthy"])
    ]
    if unhealthy:
        raise EnvironmentFault(f"machines not routed to: {', '.join(unhealthy)}")


def logs(
    machine: Annotated[
        str | None,
        typer.Argument(metavar="MACHINE", help="Only the lines of this machine, or of this region."),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Keep printing new lines.")] = False,
    names: NamesOption = False,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """Show the latest log lines of the machines and the proxy.

    Example: flysim logs dfw-1 --follow
    """
    api = ControlClient(control)
    region = machine if machine in _regions_of(api, machine) else None
    wanted = {} if machine is None or region else {"machine": _logged_as(api, machine)}
    lines = (
        api.stream("/_flysim/logs", follow="true", **wanted) if follow else api.get("/_flysim/logs", **wanted)
    )
    count = 0
    for line in lines:
        if region in (None, line["region"]):
            count += 1
            _print_line(line, names=names)
    if not count:
        console.print_note(_no_lines_text(machine))


def _no_lines_text(machine: str | None) -> str:
    subject = machine or "a machine"
    return (
        "no log lines yet\n"
        f"  hint: if {subject} runs outside flysim, see its logs there, for example with docker compose logs"
    )


def _regions_of(api: ControlClient, key: str | None) -> set[str]:
    """The fleet's regions. Empty, without a request, if `key` cannot be a region: names have a dash, ids are longer."""
    if key is None or not re.fullmatch("[a-z]{3}", key):
        return set()
    return {str(machine["region"]) for machine in api.get("/_flysim/status")["machines"]}


def _logged_as(api: ControlClient, key: str) -> str:
    """The key that the logs API accepts: an id or a name, but not app/name."""
    return str(api.find_machine(key)["id"]) if "/" in key else key


def _print_line(line: dict[str, Any], *, names: bool) -> None:
    if line["type"] == "MachineLogged":
        console.print_machine_line(line["name"] if names else line["region"], line["line"])
    else:
        console.print_proxy_line(line["machine_id"], line["region"], line["level"], line["message"])

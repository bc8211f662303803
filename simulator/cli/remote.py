"""Commands that act on a simulator which is running already, through its control API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simulator.cli import console
from simulator.cli.options import DEFAULT_CONTROL, ControlOption
from simulator.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    import httpx

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MachineArgument = Annotated[str, typer.Argument(metavar="MACHINE", help="Its name, as dfw-1, or its id.")]
_ACTION_SECONDS = 120.0

machine_commands = typer.Typer(
    help="Act on the machines of a running simulator. Example: flysim machine stop dfw-1",
    no_args_is_help=True,
)


class Control:
    """A client of the control API at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def get(self, path: str, **parameters: Any) -> Any:
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=body or {})

    def delete(self, path: str, **parameters: Any) -> Any:
        return self._ask("DELETE", path, params=parameters)

    def find_machine(self, key: str) -> dict[str, Any]:
        """By name, id, or app/name. Raises InputError that lists the machines there are."""
        machines: list[dict[str, Any]] = self.get("/_flysim/status")["machines"]
        found = [m for m in machines if key in (m["id"], m["name"], f"{m['app']}/{m['name']}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{m['app']}/{m['name']} ({m['id']})" for m in found or machines)
        problem = f"{key!r} names several machines" if found else f"there is no machine {key!r}"
        raise InputError(problem, expected=f"one of {known}")

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        with _reaching(self.url):
            response = httpx.request(
                method, self.url + path, timeout=_ACTION_SECONDS, trust_env=False, **options
            )
        return self._read(response)

    @staticmethod
    def _read(response: httpx.Response) -> Any:
        try:
            content = response.json()
        except ValueError:
            raise EnvironmentFault(
                f"what answers at {response.url} is not flysim's control API (status {response.status_code})",
                mend="give its address with --control or FLYSIM_CONTROL",
            ) from None
        if response.is_error:
            raise InputError(content.get("error", f"status {response.status_code}"))
        return content


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        raise EnvironmentFault(
            f"no simulator answers at {url}",
            mend="start one with flysim up, or give its control API with --control or FLYSIM_CONTROL",
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise EnvironmentFault(
            f"the control API at {url} did not answer: {error or type(error).__name__}"
        ) from error


@machine_commands.command("list")
def list_machines(control: ControlOption = DEFAULT_CONTROL, as_json: JsonOption = False) -> None:
    """All machines with their state."""
    _show_machines(Control(control).get("/_flysim/status")["machines"], as_json=as_json)


def _show_machines(machines: list[dict[str, Any]], *, as_json: bool = False) -> None:
    if as_json:
        console.say(json.dumps(machines, indent=2))
        return
    for machine in machines:
        notes = [] if machine["healthy"] or machine["state"] != "started" else ["unhealthy"]
        notes += ["cordoned"] if machine["cordoned"] else []
        state = ", ".join([machine["state"], *notes])
        console.say(
            f"{machine['name']:10} {machine['id']}  {machine['app']:12} {machine['address']:22} {state}"
        )


def _act(control: str, key: str, verb: str, done: str) -> None:
    api = Control(control)
    machine = api.find_machine(key)
    api.post(f"/v1/apps/{machine['app']}/machines/{machine['id']}/{verb}")
    console.say(f"{machine['name']} {machine['id']} {done}")


@machine_commands.command()
def start(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """Start or resume it, and wait until it is healthy."""
    _act(control, machine, "start", "is started")


@machine_commands.command()
def stop(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """Its kill signal, then after its kill timeout the end."""
    _act(control, machine, "stop", "is stopped")


@machine_commands.command()
def suspend(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """Freeze it; start resumes it."""
    _act(control, machine, "suspend", "is suspended")


@machine_commands.command()
def cordon(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """Deliver nothing new to it."""
    _act(control, machine, "cordon", "is cordoned")


@machine_commands.command()
def uncordon(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """Deliver to it again."""
    _act(control, machine, "uncordon", "is not cordoned any more")


@machine_commands.command()
def kill(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """End it at once, as kill -9 does."""
    api = Control(control)
    found = api.find_machine(machine)
    api.post(f"/_flysim/machines/{found['id']}/kill")
    console.say(f"{found['name']} {found['id']} is killed")


@machine_commands.command()
def destroy(machine: MachineArgument, control: ControlOption = DEFAULT_CONTROL) -> None:
    """End it and forget it."""
    api = Control(control)
    found = api.find_machine(machine)
    api.delete(f"/v1/apps/{found['app']}/machines/{found['id']}", force="true")
    console.say(f"{found['name']} {found['id']} is destroyed")


@machine_commands.command()
def clone(
    machine: MachineArgument,
    region: Annotated[
        str | None, typer.Option(help="Where the new one runs; default: beside the first.")
    ] = None,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """Another machine like this one."""
    api = Control(control)
    found = api.find_machine(machine)
    made = api.post(f"/_flysim/machines/{found['id']}/clone", {"region": region} if region else None)
    console.say(f"{made['name']} {made['id']} is started")


def status(control: ControlOption = DEFAULT_CONTROL, as_json: JsonOption = False) -> None:
    """Where the edges are, and the state of every machine.

    Example: flysim status
    """
    found = Control(control).get("/_flysim/status")
    if as_json:
        console.say(json.dumps(found, indent=2))
        return
    for region, url in found["edges"].items():
        console.say(f"edge {region:5} {url}")
    _show_machines(found["machines"])


def logs(
    machine: Annotated[str | None, typer.Argument(metavar="[MACHINE]", help="Only of this one.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
) -> None:
    """The latest log lines of the machines and the proxy.

    Example: flysim logs dfw-1 --follow
    """
    api = Control(control)
    parameters = {"machine": machine} if machine else {}
    if not follow:
        for line in api.get("/_flysim/logs", **parameters):
            _show_line(line)
        return
    import httpx

    with (
        _reaching(api.url),
        httpx.stream(
            "GET",
            f"{api.url}/_flysim/logs",
            params={**parameters, "follow": "true"},
            timeout=None,
            trust_env=False,
        ) as response,
    ):
        if response.is_error:
            response.read()
            Control._read(response)
        for text in response.iter_lines():
            _show_line(json.loads(text))


def _show_line(line: dict[str, Any]) -> None:
    if line["type"] == "MachineLogged":
        console.show_machine_line(line["region"], line["line"])
    else:
        console.show_proxy_line(line["machine_id"], line["region"], line["level"], line["message"])

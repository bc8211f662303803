"""What no single key shows to be wrong: a port twice, an id twice, an app that nothing starts.

These look at the document as written, whatever else is wrong with it, so that everything is told at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.config.command_lint import find_assignment
from simulator.config.fly.model import FlyToml
from simulator.config.problems import Problems, name_key, suggest
from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath

Found = Iterator[tuple[KeyPath, Any]]


def apps_in(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables `[apps.NAME]` that are tables."""
    apps = data.get("apps")
    for name, table in apps.items() if isinstance(apps, dict) else ():
        if isinstance(name, str) and isinstance(table, dict):
            yield name, table


def _machines_in(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    for name, app in apps_in(data):
        machines = app.get("machines")
        for index, machine in enumerate(machines if isinstance(machines, list) else ()):
            if isinstance(machine, dict):
                yield ("apps", name, "machines", index), machine


def cross_check(
    data: Mapping[str, Any], source: Source, problems: Problems, fly_tomls: Mapping[str, FlyToml]
) -> None:
    _check_twice(_ports(data), "port", "another port, or 0 for any free one", source, problems)
    _check_twice(_ids(data), "id", "an id of its own for every machine", source, problems)
    _check_twice(_hostnames(data), "hostname", "every hostname once", source, problems)
    _check_counts(data, source, problems)
    _check_groups(data, source, problems, fly_tomls)
    _check_commands(data, source, problems, fly_tomls)
    _check_builds(data, source, problems)


def _check_twice(found: Found, what: str, expected: str, source: Source, problems: Problems) -> None:
    seen: dict[Any, KeyPath] = {}
    for at, value in found:
        first = seen.setdefault(value, at)
        if first != at:
            line = source.line(first)
            where = f"{name_key(first)} (line {line})" if line else name_key(first)
            problems.add(f"{name_key(at)}: {what} {value} is that of {where}", source, at, expected=expected)


def _ports(data: Mapping[str, Any]) -> Found:
    edges, control = data.get("edges"), data.get("control")
    for region, edge in edges.items() if isinstance(edges, dict) else ():
        ports: dict[KeyPath, Any] = {(): edge}
        if isinstance(edge, dict):
            ports = {(public,): port for public, port in edge.items() if not _is_main_again(edge, public)}
        for key, port in ports.items():
            if type(port) is int and port:
                yield ("edges", region, *key), port
    if isinstance(control, dict) and type(control.get("port")) is int and control["port"]:
        yield ("control", "port"), control["port"]


def _is_main_again(edge: Mapping[Any, Any], public: object) -> bool:
    """80 and 443 may be one port here."""
    return str(public) == "443" and edge[public] in (edge.get("80"), edge.get(80))


def _ids(data: Mapping[str, Any]) -> Found:
    for at, machine in _machines_in(data):
        if isinstance(machine.get("id"), str):
            yield (*at, "id"), machine["id"]


def _hostnames(data: Mapping[str, Any]) -> Found:
    for name, app in apps_in(data):
        hostnames = app.get("hostnames")
        for index, hostname in enumerate(hostnames if isinstance(hostnames, list) else ()):
            if isinstance(hostname, str):
                yield ("apps", name, "hostnames", index), hostname.lower()


def _check_counts(data: Mapping[str, Any], source: Source, problems: Problems) -> None:
    for at, machine in _machines_in(data):
        count = machine.get("count", 1)
        for key in ("id", "url"):
            if type(count) is int and count > 1 and key in machine:
                problem = (
                    f"{name_key(at)} has both count = {count} and {key}, which can be of one machine only"
                )
                problems.add(
                    problem, source, (*at, key), expected=f"no {key}, or a [[…machines]] for each machine"
                )


def _check_groups(
    data: Mapping[str, Any], source: Source, problems: Problems, fly_tomls: Mapping[str, FlyToml]
) -> None:
    for at, machine in _machines_in(data):
        group, fly = machine.get("group"), fly_tomls.get(str(at[1]))
        if isinstance(group, str) and fly is not None and group not in fly.groups:
            problem = f'{name_key((*at, "group"))} is "{group}"{suggest(group, fly.groups)}'
            expected = f"a process group of {fly.path.name}: {', '.join(fly.groups)}"
            problems.add(problem, source, (*at, "group"), expected=expected)


def _check_commands(
    data: Mapping[str, Any], source: Source, problems: Problems, fly_tomls: Mapping[str, FlyToml]
) -> None:
    for name, app in apps_in(data):
        fly = fly_tomls.get(name)
        starts = [row for row in _list(app.get("machines")) if isinstance(row, dict) and "url" not in row]
        _check_shell_syntax(name, app.get("command"), source, problems)
        if not starts or "command" in app or "image" in app:
            continue
        if fly and (fly.image or all(_has_command(row.get("group"), fly) for row in starts)):
            continue
        if fly is None and "fly_toml" in app:
            continue  # it is wrong or missing, which is told already
        problem = f"nothing says how to start a machine of apps.{name}"
        expected = 'command = ["python", "-m", "app"], or a url for every machine'
        problems.add(problem, source, ("apps", name), expected=expected)


def _check_builds(data: Mapping[str, Any], source: Source, problems: Problems) -> None:
    for name, app in apps_in(data):
        if "build" in app and "image" not in app:
            problem = f"apps.{name}.build makes an image that has no name"
            expected = f'image = "{name}" beside it'
            problems.add(problem, source, ("apps", name, "build"), expected=expected)


def _has_command(group: object, fly: FlyToml) -> bool:
    """A group that is not there at all is told already."""
    group = group or fly.group
    return group in fly.processes or group not in fly.groups


def _check_shell_syntax(app: str, command: object, source: Source, problems: Problems) -> None:
    words = command.split() if isinstance(command, str) else _list(command)
    assignment = find_assignment(words) if words and isinstance(words[0], str) else None
    if assignment:
        name, value = assignment
        problem = f"apps.{app}.command begins with {name}={value}, which only a shell takes for a variable"
        expected = f'env = {{ {name} = "{value}" }} under [apps.{app}], or command = ["sh", "-c", "…"]'
        if name == "PORT":
            expected = f"no PORT: flysim gives each machine its own, {{port}} here; or {expected}"
        problems.add(problem, source, ("apps", app, "command"), expected=expected)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

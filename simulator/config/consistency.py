"""Consistency checks across the keys of flysim.toml: duplicate ports and ids, apps without a command.

The checks read the raw document, not the validated model, so that they report their errors together with type
errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.config.command_lint import find_assignment
from simulator.config.fly.model import FlyToml
from simulator.config.problems import Problems, name_key, suggest
from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath

Values = Iterator[tuple[KeyPath, Any]]


def apps_in(data: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (name, table) for each `[apps.NAME]` that is a table."""
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


def check_consistency(
    data: Mapping[str, Any], source: Source, problems: Problems, fly_tomls: Mapping[str, FlyToml]
) -> None:
    _check_unique(_ports(data), "port", "another port, or 0 for any free port", source, problems)
    _check_unique(_ids(data), "id", "a unique id for each machine", source, problems)
    _check_unique(_hostnames(data), "hostname", "a unique hostname", source, problems)
    _check_counts(data, source, problems)
    _check_groups(data, source, problems, fly_tomls)
    _check_commands(data, source, problems, fly_tomls)
    _check_builds(data, source, problems)


def _check_unique(values: Values, what: str, expected: str, source: Source, problems: Problems) -> None:
    seen: dict[Any, KeyPath] = {}
    for at, value in values:
        first = seen.setdefault(value, at)
        if first != at:
            line = source.line(first)
            where = f"{name_key(first)} (line {line})" if line else name_key(first)
            problem = f"{name_key(at)}: {what} {value} is already used by {where}"
            problems.add(problem, source, at, expected=expected)


def _ports(data: Mapping[str, Any]) -> Values:
    edges, control = data.get("edges"), data.get("control")
    for region, edge in edges.items() if isinstance(edges, dict) else ():
        ports: dict[KeyPath, Any] = {(): edge}
        if isinstance(edge, dict):
            ports = {(public,): port for public, port in edge.items() if not _shares_port_80(edge, public)}
        for key, port in ports.items():
            if type(port) is int and port:
                yield ("edges", region, *key), port
    if isinstance(control, dict) and type(control.get("port")) is int and control["port"]:
        yield ("control", "port"), control["port"]


def _shares_port_80(edge: Mapping[Any, Any], public: object) -> bool:
    """Public ports 80 and 443 may map to the same local port."""
    return str(public) == "443" and edge[public] in (edge.get("80"), edge.get(80))


def _ids(data: Mapping[str, Any]) -> Values:
    for at, machine in _machines_in(data):
        if isinstance(machine.get("id"), str):
            yield (*at, "id"), machine["id"]


def _hostnames(data: Mapping[str, Any]) -> Values:
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
                problem = f"{name_key(at)} has count = {count} and {key}, which applies to one machine only"
                problems.add(
                    problem, source, (*at, key), expected=f"no {key}, or one [[…machines]] table per machine"
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
            continue  # The file is missing or invalid, which is reported already.
        problem = f"apps.{name} has no command to start its machines"
        expected = 'command = ["python", "-m", "app"], or a url for each machine'
        problems.add(problem, source, ("apps", name), expected=expected)


def _check_builds(data: Mapping[str, Any], source: Source, problems: Problems) -> None:
    for name, app in apps_in(data):
        if "build" in app and "image" not in app:
            problem = f"apps.{name} has build but no image, so the built image has no name"
            expected = f'image = "{name}" next to build'
            problems.add(problem, source, ("apps", name, "build"), expected=expected)


def _has_command(group: object, fly: FlyToml) -> bool:
    """True for an unknown group too: `_check_groups` reports that."""
    group = group or fly.group
    return group in fly.processes or group not in fly.groups


def _check_shell_syntax(app: str, command: object, source: Source, problems: Problems) -> None:
    words = command.split() if isinstance(command, str) else _list(command)
    assignment = find_assignment(words) if words and isinstance(words[0], str) else None
    if assignment:
        name, value = assignment
        problem = (
            f"apps.{app}.command starts with {name}={value}, which is shell syntax, and no shell runs it"
        )
        expected = f'env = {{ {name} = "{value}" }} under [apps.{app}], or command = ["sh", "-c", "…"]'
        if name == "PORT":
            expected = f"{{port}} in the command, because flysim sets PORT for each machine; or {expected}"
        problems.add(problem, source, ("apps", app, "command"), expected=expected)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

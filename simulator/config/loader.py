"""Config loader: reads flysim.toml, a scenario's inline `fleet:`, or a single fly.toml into a `Config`.

All errors are reported together, each with file and line (`InputError`, exit code 2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.config.command_lint import lint_command, lint_env
from simulator.config.consistency import apps_in, check_consistency
from simulator.config.document import VERSION, AppTable, Document, MachineTable, table_at
from simulator.config.fly.model import FlyToml
from simulator.config.fly.process_group import machine_in_group
from simulator.config.fly.reader import read_fly_toml
from simulator.config.lint import lint_config
from simulator.config.model import DEFAULT_CONTROL_PORT, AppConfig, Config, MachineSpec
from simulator.config.problems import Problems, name_key
from simulator.config.source import PathSource, Source, read_toml
from simulator.config.toml_positions import KeyPath
from simulator.config.validation_messages import add_validation_error
from simulator.errors import InputError
from simulator.routing.model import App
from simulator.routing.options import RoutingOptions
from simulator.routing.service import HTTP_PORT, HTTPS_PORT, Service

CONFIG_NAME = "flysim.toml"
FLY_NAME = "fly.toml"
DEFAULT_EDGE_PORT = 8080
LAST_PRIVILEGED_PORT = 1023
FALLBACK_APP = "app"


def load_config(path: Path | str | None = None, *, seed: int = 0) -> Config:
    """Read a flysim.toml, a fly.toml, or the one in a folder; without a path, in the current folder.

    Machines without an id get one that is derived from `seed`. Raises InputError with every error in the files.

    >>> sorted(load_config("flysim.toml").edges)
    ['ams', 'dfw']
    """
    path = _find_config(Path(path or ""))
    if path.name == FLY_NAME:
        return _load_fly_toml(path, seed)
    data, source = read_toml(path)
    return _parse(data, path.parent, source, seed, path)


def parse_config(
    data: Mapping[str, Any], folder: Path | str = "", source: Source | None = None, *, seed: int = 0
) -> Config:
    """Parse an inline configuration: the keys of flysim.toml, with `version` optional.

    Relative paths start at `folder`. `source` gives the path and lines for error messages. Machines without an id
    get one that is derived from `seed`. Raises InputError with every error in the data.

    >>> app = {"command": "python server.py", "machines": [{"region": "ams"}, {"region": "dfw", "count": 2}]}
    >>> config = parse_config({"edges": {"ams": 0}, "apps": {"chat": app}})
    >>> [machine.name for machine in config.machines]
    ['ams-1', 'dfw-1', 'dfw-2']
    """
    if isinstance(data, dict):
        data = {"version": VERSION, **data}
    return _parse(data, Path(folder), source or PathSource(Path("configuration")), seed, None)


def _find_config(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in (CONFIG_NAME, FLY_NAME):
        if (path / name).is_file():
            return path / name
    raise InputError(
        f"no {CONFIG_NAME} and no {FLY_NAME} in {path.resolve()}",
        expected="one of these files; `flysim init` writes a flysim.toml, and `flysim demo` runs without one",
    )


def _load_fly_toml(path: Path, seed: int) -> Config:
    """One machine per process group in the primary region, as the first deploy creates them, and one edge there."""
    problems = Problems()
    fly = read_fly_toml(path, problems)
    problems.raise_if_any()
    if fly is None or fly.primary_region is None:
        raise InputError(
            'missing key "primary_region", which says where to run the machines',
            path=path,
            line=1,
            column=1,
            expected='primary_region = "ams", or a flysim.toml next to it (`flysim init` writes one)',
        )
    if not fly.processes and not fly.image:
        raise InputError(
            "no command to start a machine: the file has no [processes] and no image",
            path=path,
            expected="a flysim.toml next to it, with a command (`flysim init` writes one)",
        )
    machines = [{"region": fly.primary_region, "group": group} for group in fly.processes or (fly.group,)]
    app = {"fly_toml": path.name, "machines": machines}
    data = {
        "version": VERSION,
        "edges": {fly.primary_region: _edge_ports(fly)},
        "apps": {fly.app or FALLBACK_APP: app},
    }
    return _parse(data, path.parent, PathSource(path), seed, path)


def _edge_ports(fly: FlyToml) -> dict[int, int]:
    """Maps each public port to the same local port, or to 0 if that is privileged or a default of flysim.

    Of a port range, only the first port is mapped.
    """
    ports = {HTTP_PORT: DEFAULT_EDGE_PORT}
    for port in (port for service in fly.routed_services for port in service.ports):
        if port.start not in (HTTP_PORT, HTTPS_PORT):
            is_unavailable = port.start <= LAST_PRIVILEGED_PORT or port.start in (
                DEFAULT_EDGE_PORT,
                DEFAULT_CONTROL_PORT,
            )
            ports[port.start] = 0 if is_unavailable else port.start
    return ports


def _parse(data: Mapping[str, Any], folder: Path, source: Source, seed: int, path: Path | None) -> Config:
    problems = Problems()
    document = _validate(data, source, problems)
    fly_tomls = _read_fly_tomls(data, folder, source, problems)
    if isinstance(data, dict):
        check_consistency(data, source, problems, fly_tomls)
    problems.raise_if_any()
    if document is None:
        raise InputError("not a valid configuration", path=source.path)
    apps = tuple(_Builder(document, folder.resolve(), fly_tomls, seed).apps())
    return Config(
        folder=folder.resolve(),
        edges={region: _main_port(ports) for region, ports in document.edges.items()},
        apps=apps,
        extra_ports=_extra_ports(document),
        path=path,
        control_port=document.control.port,
        routing=RoutingOptions(**document.proxy.model_dump(exclude_unset=True)),  # type: ignore[attr-defined]
        warnings=(*_warnings(document, source, fly_tomls), *lint_config(document, apps, source)),
    )


def _validate(data: Mapping[str, Any], source: Source, problems: Problems) -> Document | None:
    try:
        return Document.model_validate(data)
    except ValidationError as error:
        add_validation_error(problems, error, source, table_at)
        return None


def _read_fly_tomls(
    data: Mapping[str, Any], folder: Path, source: Source, problems: Problems
) -> dict[str, FlyToml]:
    fly_tomls = {}
    for name, app in apps_in(data) if isinstance(data, dict) else ():
        given = app.get("fly_toml")
        if not isinstance(given, str):
            continue
        path = folder / given
        if "\0" in given or not path.is_file():
            problem = f'apps.{name}.fly_toml is "{given}", but the file {path} does not exist'
            expected = f"the path of the app's fly.toml, relative to {folder.resolve()}"
            problems.add(problem, source, ("apps", name, "fly_toml"), expected=expected)
        elif fly := read_fly_toml(path, problems):
            fly_tomls[name] = fly
    return fly_tomls


def _main_port(ports: Mapping[int, int]) -> int:
    """The local port of 80 and 443, which serves both plain HTTP and TLS; 0 (any free port) without either."""
    return ports.get(HTTP_PORT, ports.get(HTTPS_PORT, 0))


def _extra_ports(document: Document) -> dict[tuple[str, int], int]:
    return {
        (region, public): port
        for region, ports in document.edges.items()
        for public, port in ports.items()
        if public != HTTP_PORT and not (public == HTTPS_PORT and port == _main_port(ports))
    }


def _warnings(document: Document, source: Source, fly_tomls: Mapping[str, FlyToml]) -> list[str]:
    warnings = []
    for name, fly in fly_tomls.items():
        if fly.app is not None and fly.app != name:
            warnings.append(f'{fly.path}: app = "{fly.app}" is ignored; {source.path} names the app "{name}"')
        warnings.extend(fly.warnings)
    for name, table in document.apps.items():
        warnings += _lint(name, table, source, fly_tomls.get(name))
    return warnings


def _lint(name: str, table: AppTable, source: Source, fly: FlyToml | None) -> Iterator[str]:
    at: KeyPath = ("apps", name)
    for warning in lint_command(table.command or ()):
        yield _format_warning(source, (*at, "command"), warning)
    for variable, warning in lint_env(table.env):
        yield _format_warning(source, (*at, "env", variable), warning)
    if fly is not None and not table.command:
        for warning in lint_command(fly.processes.get(fly.group, ())):
            yield f"{fly.path}: [processes] {fly.group}: {warning}"


def _format_warning(source: Source, at: KeyPath, warning: str) -> str:
    line = source.line(at)
    return f"{source.path}{f':{line}' if line else ''}: {name_key(at)}: {warning}"


class _Builder:
    """Builds apps and machines from validated tables."""

    def __init__(self, document: Document, folder: Path, fly_tomls: Mapping[str, FlyToml], seed: int) -> None:
        self._document = document
        self._folder = folder
        self._fly_tomls = fly_tomls
        self._seed = seed
        self._ids = {row.id for app in document.apps.values() for row in app.machines if row.id}

    def apps(self) -> list[AppConfig]:
        return [
            self._app(name, table, self._fly_tomls.get(name)) for name, table in self._document.apps.items()
        ]

    def _app(self, name: str, table: AppTable, fly: FlyToml | None) -> AppConfig:
        app = App(
            name=name,
            org=table.org,
            network=table.network,
            replay_sources=tuple(table.replay_sources),
            hostnames=tuple(hostname.lower() for hostname in table.hostnames),
            primary_region=fly.primary_region if fly else None,
            services=fly.routed_services if fly else (Service(),),
        )
        numbers: dict[str, int] = {}
        machines = []
        for row in table.machines:
            names = [f"{row.region}-{numbers.get(row.region, 0) + nth}" for nth in range(1, row.count + 1)]
            numbers[row.region] = numbers.get(row.region, 0) + row.count
            ids = [row.id] if row.id else self._make_ids(name, names)
            machines += [self._machine(name, *pair, table, row, fly) for pair in zip(ids, names, strict=True)]
        return AppConfig(app, tuple(machines), fly, table.start_timeout)

    def _machine(
        self,
        app: str,
        machine_id: str,
        name: str,
        table: AppTable,
        row: MachineTable,
        fly_toml: FlyToml | None,
    ) -> MachineSpec:
        fly = fly_toml or FlyToml(self._folder)
        machine = machine_in_group(fly_toml, row.group, id=machine_id, name=name, app=app, region=row.region)
        group_command = fly.processes.get(machine.group, ())
        return replace(
            machine,
            command=tuple(table.command or group_command),
            env={**fly.env, **table.env},
            cwd=self._folder,
            url=row.url,
            image=table.image or fly.image,
            image_folder=self._folder / table.build if table.build else None,
            image_command=group_command,
            start_timeout_seconds=table.start_timeout,
        )

    def _make_ids(self, app: str, names: list[str]) -> list[str]:
        """Machine ids of 14 hex digits (F-7.3), the same for the same app, names and seed.

        The ids of one row share a prefix and end in a four-digit counter, because Docker Swarm deploys them as one
        service and numbers its tasks.
        """
        attempt = 0
        while True:
            text = f"{self._seed}/{app}/{names[0]}/{attempt}"
            digits = hashlib.sha256(text.encode()).hexdigest()[:14]
            ids = (
                [f"{digits[:10]}{nth:04d}" for nth, _ in enumerate(names, 1)] if len(names) > 1 else [digits]
            )
            if self._ids.isdisjoint(ids):
                self._ids.update(ids)
                return ids
            attempt += 1

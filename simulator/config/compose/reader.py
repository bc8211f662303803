"""Reader of Docker Compose files: every service with the label `fly.region` is a machine.

It reads only the keys that flysim needs, and only this one file: `extends`, `include` and override files are not
followed. Source: Compose specification.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simulator.config.base_model import WrittenFloat
from simulator.config.compose.interpolation import InterpolationError, interpolate
from simulator.config.compose.labels import (
    MACHINE_ID,
    REGION,
    app_name,
    find_label_problems,
    is_machine,
    machine_from_labels,
)
from simulator.config.loader import DEFAULT_EDGE_PORT
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.config.problems import Problems, describe, name_key
from simulator.config.toml_positions import KeyPath
from simulator.config.yaml_document import Document, read_document
from simulator.errors import InputError
from simulator.routing.model import App

__all__ = ["ComposeFile", "config_from_machines", "machine_from_labels", "project_name", "read_compose"]

PROJECT_VARIABLE = "COMPOSE_PROJECT_NAME"
_HOST_NAME = re.compile("[0-9a-f]{12}|[0-9a-f]{14}")
"""Hostnames that can be machine ids: Docker's default hostnames have 12 hex digits, Fly's ids have 14."""


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The machines of a Compose file."""

    path: Path
    project: str
    machines: tuple[MachineSpec, ...]
    """Machines whose id is in the file. Each is looked up by its service name."""
    services_without_id: tuple[str, ...]
    """Services without an id in the file: their ids are known once the engine has created the containers."""
    regions: tuple[str, ...]
    """Region of each service in `services`."""
    apps: tuple[str, ...] = ()
    """App of each service in `services`."""
    services: tuple[str, ...] = ()
    """All services that are machines, in file order."""


def read_compose(
    path: Path, base: Config | None = None, environment: Mapping[str, str] | None = None
) -> ComposeFile:
    """Reads the machines of a Compose file. Raises InputError with all problems.

    `base` supplies the configuration of the apps. `environment` defaults to `os.environ`.
    """
    document = read_document(path)
    variables = read_variables(path, os.environ if environment is None else environment)
    return _Reader(document, variables, base).read()


def project_name(path: Path, environment: Mapping[str, str] | None = None) -> str:
    """Compose's project name for the file. Raises InputError if the file is not valid YAML."""
    document = read_document(path)
    return _project_name(document, read_variables(path, os.environ if environment is None else environment))


def _project_name(document: Document, variables: Mapping[str, str]) -> str:
    """As in Compose: the variable first, then `name:`, then the folder's name, normalized."""
    name_value = document.data.get("name") if isinstance(document.data, dict) else None
    try:
        name = variables.get(PROJECT_VARIABLE) or interpolate(_to_string(name_value), variables)
    except InterpolationError as error:
        mark = document.find_value(("name",))
        raise InputError(f"name {error}", path=document.path, line=mark.line, column=mark.column) from None
    return name or re.sub("[^a-z0-9_-]", "", document.path.resolve().parent.name.lower()).lstrip("_-")


def read_variables(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for interpolation: the `.env` file next to the Compose file, overridden by `environment`."""
    try:
        lines = (path.parent / ".env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    pairs = (
        line.removeprefix("export ").partition("=") for line in lines if not line.lstrip().startswith("#")
    )
    return {name.strip(): _unquote(value.strip()) for name, sign, value in pairs if sign} | {**environment}


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def config_from_machines(
    machines: Iterable[MachineSpec], file: ComposeFile, base: Config | None = None
) -> Config:
    """The configuration for the Compose file with these machines.

    Without `base`, each region of the file gets an edge on port 8080, 8081 …, and all apps of the file are
    included, even those without a machine yet.
    """
    machines = tuple(machines)
    if base is not None:
        apps = tuple(replace(each, machines=_of_app(each.app.name, machines)) for each in base.apps)
        return replace(base, apps=apps)
    edges = {region: DEFAULT_EDGE_PORT + index for index, region in enumerate(dict.fromkeys(file.regions))}
    names = dict.fromkeys((*file.apps, *(spec.app for spec in machines)))
    apps = tuple(AppConfig(App(name), _of_app(name, machines)) for name in names)
    return Config(folder=file.path.resolve().parent, edges=edges, apps=apps, path=file.path)


def _of_app(name: str, machines: tuple[MachineSpec, ...]) -> tuple[MachineSpec, ...]:
    return tuple(spec for spec in machines if spec.app == name)


class _Reader:
    """Reads one document and collects its problems."""

    def __init__(self, document: Document, variables: Mapping[str, str], base: Config | None) -> None:
        self._document = document
        self._variables = variables
        self._base = base
        self._problems = Problems()
        self._machines: list[MachineSpec] = []
        self._unnamed: list[str] = []
        self._regions: list[str] = []
        self._apps: list[str] = []
        self._names: list[str] = []
        self._ids: dict[str, KeyPath] = {}

    def read(self) -> ComposeFile:
        for name, service in self._services():
            at: KeyPath = ("services", name)
            labels, paths = self._pairs(service.get("labels"), (*at, "labels"))
            if is_machine(labels) and self._are_valid(labels, paths):
                self._add_machine(name, service, labels, paths.get(MACHINE_ID))
        self._problems.raise_if_any()
        if not self._regions:
            raise InputError(
                f"no machine in this file: no service has the label {REGION}",
                path=self._document.path,
                expected=f'labels: {{ {REGION}: "ams" }} in each service that is a machine',
            )
        project = _project_name(self._document, self._variables)
        return ComposeFile(
            self._document.path,
            project,
            tuple(self._machines),
            tuple(self._unnamed),
            tuple(self._regions),
            tuple(self._apps),
            tuple(self._names),
        )

    def _services(self) -> Iterator[tuple[str, dict[str, Any]]]:
        data = self._document.data
        services = data.get("services") if isinstance(data, dict) else None
        if not isinstance(services, dict):
            self._add('missing key "services"', ("services",), "services: with one service per machine")
            return
        for name, service in services.items():
            if isinstance(service, dict):
                yield name, service
            elif service is not None:
                self._add(f"services.{name} is {describe(service)}", ("services", name), "a mapping")

    def _are_valid(self, labels: Mapping[str, str], paths: Mapping[str, KeyPath]) -> bool:
        problems = list(find_label_problems(labels, self._base))
        for label, problem, expected in problems:
            self._add(f"{_name_label(paths[label], label)} {problem}", paths[label], expected)
        return not problems

    def _add_machine(
        self, name: str, service: dict[str, Any], labels: Mapping[str, str], id_at: KeyPath | None
    ) -> None:
        at: KeyPath = ("services", name)
        self._regions.append(labels[REGION])
        self._apps.append(app_name(labels, self._base))
        self._names.append(name)
        host_name = self._text(service.get("hostname"), (*at, "hostname"))
        has_id = id_at is not None or _HOST_NAME.fullmatch(host_name)
        if not has_id:
            self._unnamed.append(name)
            return
        env, _ = self._pairs(service.get("environment"), (*at, "environment"))
        image = self._text(service.get("image"), (*at, "image")) or None
        spec = machine_from_labels(
            labels, host_name=host_name, env=env, image=image, base=self._base, known=self._machines
        )
        self._check_replicas(spec.id, service, at)
        self._check_id_is_unique(spec.id, id_at or (*at, "hostname"))
        self._machines.append(replace(spec, lookup=name))

    def _check_replicas(self, machine_id: str, service: dict[str, Any], at: KeyPath) -> None:
        deploy = service.get("deploy")
        for key, table in (("replicas", deploy), ("scale", service)):
            path: KeyPath = (*at, "deploy", key) if key == "replicas" else (*at, key)
            text = self._text(table.get(key), path) if isinstance(table, dict) else ""
            if re.fullmatch("[0-9]{1,9}", text) and int(text) > 1:
                problem = (
                    f"{name_key(path)} is {text}, but all replicas would have the machine id {machine_id}"
                )
                self._add(problem, path, f"1, or no {MACHINE_ID}, so that each hostname becomes an id")

    def _check_id_is_unique(self, machine_id: str, at: KeyPath) -> None:
        first = self._ids.setdefault(machine_id, at)
        if first != at:
            line = self._document.line(first)
            problem = f"{name_key(at)}: machine id {machine_id} is already used on line {line}"
            self._add(problem, at, "a unique id for each machine")

    def _pairs(self, table: Any, at: KeyPath) -> tuple[dict[str, str], dict[str, KeyPath]]:
        """The values of a mapping or of a list of `name=value`, and the path of each, by name."""
        pairs, paths = {}, {}
        for key, value, path in self._items(table, at):
            text = self._text(value, path)
            name, text = (key, text) if key is not None else text.partition("=")[::2]
            pairs[name], paths[name] = text, path
        return pairs, paths

    def _items(self, table: Any, at: KeyPath) -> Iterator[tuple[str | None, Any, KeyPath]]:
        if isinstance(table, dict):
            yield from ((key, value, (*at, key)) for key, value in table.items())
        elif isinstance(table, list):
            yield from ((None, value, (*at, index)) for index, value in enumerate(table))
        elif table is not None:
            self._add(f"{name_key(at)} is {describe(table)}", at, "a mapping, or a list of name=value")

    def _text(self, value: Any, at: KeyPath) -> str:
        if isinstance(value, dict | list):
            self._add(f"{name_key(at)} is {describe(value)}", at, "a single value")
            return ""
        try:
            return interpolate(_to_string(value), self._variables)
        except InterpolationError as error:
            self._add(f"{name_key(at)} {error}", at, "${NAME} or ${NAME:-default}")
            return ""

    def _add(self, problem: str, at: KeyPath, expected: str) -> None:
        self._problems.add(problem, self._document, at, expected=expected)


def _name_label(at: KeyPath, label: str) -> str:
    """The key of a label in messages; an item of a list is named by its label instead of its index."""
    return name_key((*at[:-1], label))


def _to_string(value: Any) -> str:
    """A scalar's source text, which is how Compose converts it to a string."""
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, WrittenFloat):
        return value.text
    return "" if value is None else f"{value}"

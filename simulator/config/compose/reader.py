"""A Docker Compose file, read for the machines in it: every service with the label `fly.region` is one.

Only what flysim needs of it is read, and only from this one file: `extends`, `include` and further files are for
Compose itself. Source: the Compose specification.
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
    find_wrong_labels,
    is_machine,
    machine_of_labels,
)
from simulator.config.loader import DEFAULT_EDGE_PORT
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.config.problems import Problems, describe, name_key
from simulator.config.toml_positions import KeyPath
from simulator.config.yaml_document import Document, read_document
from simulator.errors import InputError
from simulator.routing.model import App

__all__ = ["ComposeFile", "config_of_machines", "machine_of_labels", "project_name", "read_compose"]

PROJECT_VARIABLE = "COMPOSE_PROJECT_NAME"
_HOST_NAME = re.compile("[0-9a-f]{12}|[0-9a-f]{14}")
"""What can be a machine's id: Docker's own names for hosts have 12 hex digits, Fly's ids have 14."""


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """What a Compose file says of machines."""

    path: Path
    project: str
    machines: tuple[MachineSpec, ...]
    """Those whose id the file itself says; each is looked up by the name of its service."""
    unnamed: tuple[str, ...]
    """Services whose containers get their ids only when they are made: who they are, an engine must say."""
    regions: tuple[str, ...]
    """Of all of them, in the order of the file."""
    apps: tuple[str, ...] = ()
    """Likewise."""
    services: tuple[str, ...] = ()
    """All that are machines, in that order."""


def read_compose(
    path: Path, base: Config | None = None, environment: Mapping[str, str] | None = None
) -> ComposeFile:
    """Raises InputError with everything that is wrong in it. `base` are the apps and what is known of them."""
    document = read_document(path)
    variables = read_variables(path, os.environ if environment is None else environment)
    return _Reader(document, variables, base).read()


def project_name(path: Path, environment: Mapping[str, str] | None = None) -> str:
    """The name by which Compose marks all that it makes for a file. Raises InputError for a file that is no YAML."""
    document = read_document(path)
    return _project_name(document, read_variables(path, os.environ if environment is None else environment))


def _project_name(document: Document, variables: Mapping[str, str]) -> str:
    """The variable wins over the file, as with Compose; what comes from the folder is made to fit."""
    written = document.data.get("name") if isinstance(document.data, dict) else None
    try:
        name = variables.get(PROJECT_VARIABLE) or interpolate(_text_of(written), variables)
    except InterpolationError as error:
        mark = document.find_value(("name",))
        raise InputError(f"name {error}", path=document.path, line=mark.line, column=mark.column) from None
    return name or re.sub("[^a-z0-9_-]", "", document.path.resolve().parent.name.lower()).lstrip("_-")


def read_variables(path: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What the file is filled in with: the environment, and underneath it `.env` beside the file."""
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


def config_of_machines(
    machines: Iterable[MachineSpec], file: ComposeFile, base: Config | None = None
) -> Config:
    """The configuration of a file with these machines.

    Without a base, with an edge in each of its regions, on 8080, 8081 …, and with all of its apps, whether they have
    a machine yet or not.
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
    """Reads one document; gathers what is wrong with it."""

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
            labels, places = self._pairs(service.get("labels"), (*at, "labels"))
            if is_machine(labels) and self._is_right(labels, places):
                self._take(name, service, labels, places.get(MACHINE_ID))
        self._problems.raise_if_any()
        if not self._regions:
            raise InputError(
                f"no service has the label {REGION}, so there is no machine",
                path=self._document.path,
                expected=f'under each service that is a machine: labels: {{ {REGION}: "ams" }}',
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
            self._add("there are no services", ("services",), "services: with a service for each machine")
            return
        for name, service in services.items():
            if isinstance(service, dict):
                yield name, service
            elif service is not None:
                self._add(f"services.{name} is {describe(service)}", ("services", name), "a mapping")

    def _is_right(self, labels: Mapping[str, str], places: Mapping[str, KeyPath]) -> bool:
        wrong = list(find_wrong_labels(labels, self._base))
        for label, problem, expected in wrong:
            self._add(f"{_name(places[label], label)} {problem}", places[label], expected)
        return not wrong

    def _take(
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
        spec = machine_of_labels(
            labels, host_name=host_name, env=env, image=image, base=self._base, known=self._machines
        )
        self._check_alone(spec.id, service, at)
        self._check_new(spec.id, id_at or (*at, "hostname"))
        self._machines.append(replace(spec, lookup=name))

    def _check_alone(self, machine_id: str, service: dict[str, Any], at: KeyPath) -> None:
        deploy = service.get("deploy")
        for key, table in (("replicas", deploy), ("scale", service)):
            place: KeyPath = (*at, "deploy", key) if key == "replicas" else (*at, key)
            text = self._text(table.get(key), place) if isinstance(table, dict) else ""
            if re.fullmatch("[0-9]{1,9}", text) and int(text) > 1:
                problem = f"{name_key(place)} is {text}, and all of them would be machine {machine_id}"
                self._add(problem, place, f"one, or no {MACHINE_ID}: then each one's host name is its id")

    def _check_new(self, machine_id: str, at: KeyPath) -> None:
        first = self._ids.setdefault(machine_id, at)
        if first != at:
            problem = f'{name_key(at)} is "{machine_id}", as in line {self._document.line(first)}'
            self._add(problem, at, "another id for each machine")

    def _pairs(self, table: Any, at: KeyPath) -> tuple[dict[str, str], dict[str, KeyPath]]:
        """Names and values of a mapping, or of a list of `name=value`, and where each stands."""
        found, places = {}, {}
        for key, value, place in self._items(table, at):
            text = self._text(value, place)
            name, text = (key, text) if key is not None else text.partition("=")[::2]
            found[name], places[name] = text, place
        return found, places

    def _items(self, table: Any, at: KeyPath) -> Iterator[tuple[str | None, Any, KeyPath]]:
        if isinstance(table, dict):
            yield from ((key, value, (*at, key)) for key, value in table.items())
        elif isinstance(table, list):
            yield from ((None, value, (*at, index)) for index, value in enumerate(table))
        elif table is not None:
            self._add(f"{name_key(at)} is {describe(table)}", at, "a mapping, or a list of name=value")

    def _text(self, value: Any, at: KeyPath) -> str:
        if isinstance(value, dict | list):
            self._add(f"{name_key(at)} is {describe(value)}", at, "a plain value")
            return ""
        try:
            return interpolate(_text_of(value), self._variables)
        except InterpolationError as error:
            self._add(f"{name_key(at)} {error}", at, "${NAME} or ${NAME:-default}")
            return ""

    def _add(self, problem: str, at: KeyPath, expected: str) -> None:
        self._problems.add(problem, self._document, at, expected=expected)


def _name(at: KeyPath, label: str) -> str:
    """Of a label, also of one that stands in a list."""
    return name_key((*at[:-1], label))


def _text_of(value: Any) -> str:
    """A plain value as it is written, which is what Compose makes of it."""
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, WrittenFloat):
        return value.text
    return "" if value is None else f"{value}"

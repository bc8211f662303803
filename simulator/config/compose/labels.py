"""Container labels that describe a machine, from a Compose file or from a Docker engine.

The label `fly.region` makes a container a machine; the other labels are optional. The base configuration supplies
everything that the labels leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from simulator.config.field_types import INVALID_VALUE, AppName, InternalPort, MachineId, RegionCode
from simulator.config.fly.model import DEFAULT_INTERNAL_PORT
from simulator.config.fly.process_group import machine_in_group
from simulator.config.loader import FALLBACK_APP
from simulator.config.model import DEFAULT_START_SECONDS, AppConfig, Config, MachineSpec
from simulator.config.problems import suggest
from simulator.errors import InputError

REGION, MACHINE_ID, APP, PORT = "fly.region", "fly.machine_id", "fly.app", "fly.internal_port"
PREFIX = "fly."

LABELS: dict[str, TypeAdapter[Any]] = {
    REGION: TypeAdapter(RegionCode),
    MACHINE_ID: TypeAdapter(MachineId),
    APP: TypeAdapter(AppName),
    PORT: TypeAdapter(InternalPort),
}


class LabelProblem(NamedTuple):
    label: str
    problem: str
    """A predicate, such as `is "amz"`: the label's name precedes it."""
    expected: str


def is_machine(labels: Mapping[str, str]) -> bool:
    """Whether a container is a machine. Any `fly.` label counts, so that a misspelled one is reported."""
    return any(label.startswith(PREFIX) for label in labels)


def find_label_problems(labels: Mapping[str, str], base: Config | None = None) -> Iterator[LabelProblem]:
    """Yields all problems with the `fly.` labels of a container."""
    for label, value in labels.items():
        if label.startswith(PREFIX):
            yield from _find_value_problems(label, value, base)
    if is_machine(labels) and REGION not in labels:
        first = next(label for label in labels if label.startswith(PREFIX))
        yield LabelProblem(
            first, f"is set without {REGION}", f'the label {REGION} as well, such as {REGION}: "ams"'
        )


def check_labels(labels: Mapping[str, str], base: Config | None = None) -> None:
    """Raises InputError for the first problem."""
    for label, problem, expected in find_label_problems(labels, base):
        raise InputError(f"the label {label} {problem}", expected=expected)


def _find_value_problems(label: str, value: str, base: Config | None) -> Iterator[LabelProblem]:
    adapter = LABELS.get(label)
    if adapter is None:
        yield LabelProblem(
            label, f"is an unknown label{suggest(label, LABELS)}", f"one of {', '.join(LABELS)}"
        )
        return
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        context = error.errors()[0].get("ctx", {}) if error.errors()[0]["type"] == INVALID_VALUE else {}
        yield LabelProblem(label, context.get("problem", f'is "{value}"'), context.get("expected", ""))
        return
    apps = [] if base is None else [each.app.name for each in base.apps]
    if label == APP and apps and value not in apps:
        yield LabelProblem(
            label, f'is "{value}"{suggest(value, apps)}', f"an app of {base_name(base)}: {', '.join(apps)}"
        )


def base_name(base: Config | None) -> str:
    return "the config" if base is None or base.path is None else base.path.name


def machine_from_labels(
    labels: Mapping[str, str],
    *,
    host_name: str = "",
    env: Mapping[str, str] | None = None,
    image: str | None = None,
    base: Config | None = None,
    known: Iterable[MachineSpec] = (),
) -> MachineSpec:
    """The machine that a container with these labels represents. Without an id label, its hostname is its id.

    `env` is the container's environment. `known` are the machines that are already named. `base` supplies the
    app's configuration. Raises InputError for invalid labels.
    """
    check_labels(labels, base)
    if REGION not in labels or not (labels.get(MACHINE_ID) or host_name):
        raise InputError("this container is not a machine", expected=f"the label {REGION} and a hostname")
    app, env = _app_of(labels, base), env or {}
    name = app_name(labels, base)
    machine = machine_in_group(
        app.fly if app else None,
        env.get("FLY_PROCESS_GROUP"),
        id=labels.get(MACHINE_ID) or host_name,
        name=next_machine_name(labels[REGION], name, known),
        app=name,
        region=labels[REGION],
    )
    return replace(
        machine,
        env={**env},
        image=image,
        internal_port=_port_of(labels, machine.internal_port),
        start_timeout_seconds=app.start_timeout_seconds if app else DEFAULT_START_SECONDS,
    )


def next_machine_name(region: str, app: str, known: Iterable[MachineSpec]) -> str:
    """The next free name `<region>-<n>` of the app."""
    names = {spec.name for spec in known if spec.app == app}
    return next(
        f"{region}-{number}" for number in range(1, len(names) + 2) if f"{region}-{number}" not in names
    )


def _app_of(labels: Mapping[str, str], base: Config | None) -> AppConfig | None:
    """The app that the label names; without a label, the first app of the base configuration."""
    apps = () if base is None else base.apps
    name = labels.get(APP)
    return next((each for each in apps if name in (None, each.app.name)), None)


def app_name(labels: Mapping[str, str], base: Config | None) -> str:
    """Name of the app of a machine with these labels."""
    app = _app_of(labels, base)
    return app.app.name if app else labels.get(APP, FALLBACK_APP)


def find_port(labels: Mapping[str, str]) -> int | None:
    """Internal port from the label; None if the label is missing or invalid."""
    if PORT not in labels or any(_find_value_problems(PORT, labels[PORT], None)):
        return None
    return _port_of(labels, DEFAULT_INTERNAL_PORT)


def _port_of(labels: Mapping[str, str], default: int) -> int:
    port: int = LABELS[PORT].validate_python(labels.get(PORT) or default)
    return port

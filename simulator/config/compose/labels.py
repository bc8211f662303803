"""What the labels of a container say of the machine that it is, whether a Compose file or an engine tells them.

`fly.region` makes a container a machine; the others are optional. What no label says is the base configuration's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from simulator.config.field_types import REFUSED, AppName, InternalPort, MachineId, RegionCode
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


class WrongLabel(NamedTuple):
    label: str
    problem: str
    """A predicate: it follows the label's name."""
    expected: str


def is_machine(labels: Mapping[str, str]) -> bool:
    """Whether a container with these labels is meant to be one."""
    return any(label.startswith(PREFIX) for label in labels)


def find_wrong_labels(labels: Mapping[str, str], base: Config | None = None) -> Iterator[WrongLabel]:
    """Everything that is wrong with the labels of a machine."""
    for label, value in labels.items():
        if label.startswith(PREFIX):
            yield from _find_wrong_value(label, value, base)
    if is_machine(labels) and REGION not in labels:
        first = next(label for label in labels if label.startswith(PREFIX))
        yield WrongLabel(
            first, f"stands without {REGION}", f'the label {REGION} too, such as {REGION}: "ams"'
        )


def check_labels(labels: Mapping[str, str], base: Config | None = None) -> None:
    """Raises InputError for the first that is wrong."""
    for wrong in find_wrong_labels(labels, base):
        raise InputError(f"the label {wrong.label} {wrong.problem}", expected=wrong.expected)


def _find_wrong_value(label: str, value: str, base: Config | None) -> Iterator[WrongLabel]:
    kind = LABELS.get(label)
    if kind is None:
        yield WrongLabel(
            label, f"is no label of flysim's{suggest(label, LABELS)}", f"one of {', '.join(LABELS)}"
        )
        return
    try:
        kind.validate_python(value)
    except ValidationError as error:
        context = error.errors()[0].get("ctx", {}) if error.errors()[0]["type"] == REFUSED else {}
        yield WrongLabel(label, context.get("problem", f'is "{value}"'), context.get("expected", ""))
        return
    apps = [] if base is None else [each.app.name for each in base.apps]
    if label == APP and apps and value not in apps:
        yield WrongLabel(
            label, f'is "{value}"{suggest(value, apps)}', f"an app of {base_name(base)}: {', '.join(apps)}"
        )


def base_name(base: Config | None) -> str:
    return "the config" if base is None or base.path is None else base.path.name


def machine_of_labels(
    labels: Mapping[str, str],
    *,
    host_name: str = "",
    env: Mapping[str, str] | None = None,
    image: str | None = None,
    base: Config | None = None,
    known: Iterable[MachineSpec] = (),
) -> MachineSpec:
    """The machine that a container is. Its id is that of the label, else its host name.

    `env` are the variables that it was made with, `known` the machines before it, which have their names already.
    `base` says what its app's fly.toml says. Raises InputError for labels that are wrong.
    """
    check_labels(labels, base)
    if REGION not in labels or not (labels.get(MACHINE_ID) or host_name):
        raise InputError("this container is no machine", expected=f"the label {REGION}, and a host name")
    app, env = _app_of(labels, base), env or {}
    name = app_name(labels, base)
    machine = machine_in_group(
        app.fly if app else None,
        env.get("FLY_PROCESS_GROUP"),
        id=labels.get(MACHINE_ID) or host_name,
        name=name_machine(labels[REGION], name, known),
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


def name_machine(region: str, app: str, known: Iterable[MachineSpec]) -> str:
    """The next name of a region, `<region>-<n>`."""
    names = {spec.name for spec in known if spec.app == app}
    return next(
        f"{region}-{number}" for number in range(1, len(names) + 2) if f"{region}-{number}" not in names
    )


def _app_of(labels: Mapping[str, str], base: Config | None) -> AppConfig | None:
    """Where no label names one, the first of the base configuration."""
    apps = () if base is None else base.apps
    wanted = labels.get(APP)
    return next((each for each in apps if wanted in (None, each.app.name)), None)


def app_name(labels: Mapping[str, str], base: Config | None) -> str:
    """Of which app a machine with these labels is."""
    app = _app_of(labels, base)
    return app.app.name if app else labels.get(APP, FALLBACK_APP)


def find_port(labels: Mapping[str, str]) -> int | None:
    """What the label says; None: there is none, or it is wrong."""
    if PORT not in labels or any(_find_wrong_value(PORT, labels[PORT], None)):
        return None
    return _port_of(labels, DEFAULT_INTERNAL_PORT)


def _port_of(labels: Mapping[str, str], otherwise: int) -> int:
    port: int = LABELS[PORT].validate_python(labels.get(PORT) or otherwise)
    return port

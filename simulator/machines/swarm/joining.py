"""Machines that others made: what a task's labels and its fellows tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.config.fly_model import DEFAULT_GROUP, DEFAULT_INTERNAL_PORT
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.machines.swarm import label
from simulator.machines.swarm.task import Sighting


def join(seen: Sighting, config: Config, known: Mapping[str, MachineSpec]) -> MachineSpec | None:
    """None for a machine of an app that the config does not have; without a label for it, that is the first app."""
    name = seen.labels.get(label.APP)
    app = next((each for each in config.apps if name in (None, each.app.name)), None)
    if app is None:
        return None
    region = seen.labels[label.REGION]
    spec = replace(_model(app, seen), id=seen.machine_id, region=region, is_taken=True)
    taken = {each.name for each in known.values() if each.app == spec.app}
    number = next(each for each in range(1, len(taken) + 2) if f"{region}-{each}" not in taken)
    return replace(spec, name=f"{region}-{number}")


def _model(app: AppConfig, seen: Sighting) -> MachineSpec:
    """Another machine of its group, which has the same checks; else what the labels tell."""
    group = seen.labels.get(label.GROUP)
    own = [each for each in app.machines if not each.is_external]
    fellow = next((each for each in own if group in (None, each.group)), None)
    if fellow is not None:
        return fellow
    port = seen.labels.get(label.INTERNAL_PORT)
    return MachineSpec(
        id="",
        name="",
        app=app.app.name,
        region="",
        internal_port=int(port) if port else DEFAULT_INTERNAL_PORT,
        group=group or DEFAULT_GROUP,
        primary_region=app.app.primary_region,
    )

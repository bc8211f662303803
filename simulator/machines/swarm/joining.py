"""Machines that others made: what a task's labels and its app's fly.toml tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.config.label import MACHINE_ID, machine_of_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import InputError
from simulator.machines.swarm.task import Sighting


def join(seen: Sighting, config: Config, known: Mapping[str, MachineSpec]) -> MachineSpec:
    """Raises InputError for one whose labels are wrong, or of an app that the config does not have."""
    try:
        spec = machine_of_labels(
            {**seen.labels, MACHINE_ID: seen.machine_id},
            env=seen.env,
            base=config,
            known=known.values(),
        )
    except InputError as error:
        problem = f"task {seen.slot} of service {seen.service_id}: {error.problem}"
        raise InputError(problem, expected=error.expected) from error
    return replace(spec, is_taken=True)

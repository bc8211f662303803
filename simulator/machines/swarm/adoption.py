"""Machines that others made: what a task's labels and its app's fly.toml tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.config.compose.labels import MACHINE_ID, check_labels, machine_of_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import InputError
from simulator.machines.swarm.task import TaskSnapshot


def machine_spec_of(snapshot: TaskSnapshot, config: Config, known: Mapping[str, MachineSpec]) -> MachineSpec:
    """Raises InputError for one whose labels are wrong, or of an app that the config does not have."""
    check_task_labels(snapshot, config)
    spec = machine_of_labels(_labels(snapshot), env=snapshot.env, base=config, known=known.values())
    return replace(spec, is_taken=True)


def check_task_labels(snapshot: TaskSnapshot, config: Config) -> None:
    """Raises InputError for labels that are wrong, which names the task."""
    try:
        check_labels(_labels(snapshot), config)
    except InputError as error:
        raise InputError(f"{snapshot.display_name}: {error.problem}", expected=error.expected) from error


def check_duplicate(snapshot: TaskSnapshot) -> None:
    """Raises InputError where another task is the same machine."""
    if snapshot.duplicate:
        raise InputError(
            f"{snapshot.display_name} and {snapshot.duplicate} are both machine {snapshot.machine_id}, and one can be routed to",
            expected="another fly.machine_id for each service, and none in one with replicas: then each has its own",
        )


def _labels(snapshot: TaskSnapshot) -> dict[str, str]:
    return {**snapshot.labels, MACHINE_ID: snapshot.machine_id}

"""Machines that others made: what a task's labels and its app's fly.toml tell of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.config.compose.labels import MACHINE_ID, check_labels, machine_of_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import InputError
from simulator.machines.swarm.task import TaskSnapshot


def join(seen: TaskSnapshot, config: Config, known: Mapping[str, MachineSpec]) -> MachineSpec:
    """Raises InputError for one whose labels are wrong, or of an app that the config does not have."""
    check(seen, config)
    spec = machine_of_labels(_labels(seen), env=seen.env, base=config, known=known.values())
    return replace(spec, is_taken=True)


def check(seen: TaskSnapshot, config: Config) -> None:
    """Raises InputError for labels that are wrong, which names the task."""
    try:
        check_labels(_labels(seen), config)
    except InputError as error:
        raise InputError(f"{seen.words}: {error.problem}", expected=error.expected) from error


def check_duplicate(seen: TaskSnapshot) -> None:
    """Raises InputError where another task is the same machine."""
    if seen.rival:
        raise InputError(
            f"{seen.words} and {seen.rival} are both machine {seen.machine_id}, and one can be routed to",
            expected="another fly.machine_id for each service, and none in one with replicas: then each has its own",
        )


def _labels(seen: TaskSnapshot) -> dict[str, str]:
    return {**seen.labels, MACHINE_ID: seen.machine_id}

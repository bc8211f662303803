"""Machine specs for tasks that flysim did not deploy, from the task's labels and its app's fly.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.config.compose.labels import MACHINE_ID, check_labels, machine_from_labels
from simulator.config.model import Config, MachineSpec
from simulator.errors import InputError
from simulator.machines.swarm.task import TaskSnapshot


def machine_spec_of(task: TaskSnapshot, config: Config, known: Mapping[str, MachineSpec]) -> MachineSpec:
    """Raises InputError if the labels are invalid, or name an app that the config does not have."""
    check_task_labels(task, config)
    spec = machine_from_labels(_labels(task), env=task.env, base=config, known=known.values())
    return replace(spec, is_adopted=True)


def check_task_labels(task: TaskSnapshot, config: Config) -> None:
    """Raises InputError, which names the task."""
    try:
        check_labels(_labels(task), config)
    except InputError as error:
        raise InputError(f"{task.display_name}: {error.problem}", expected=error.expected) from error


def check_duplicate(task: TaskSnapshot) -> None:
    """Raises InputError if another task has the same machine id."""
    if task.duplicate:
        raise InputError(
            f"{task.display_name} and {task.duplicate} have the same machine id {task.machine_id}, "
            "so only one of them is routed to",
            expected="a different fly.machine_id for each service; a service with replicas has no fly.machine_id: "
            "flysim then generates one for each task",
        )


def _labels(task: TaskSnapshot) -> dict[str, str]:
    return {**task.labels, MACHINE_ID: task.machine_id}

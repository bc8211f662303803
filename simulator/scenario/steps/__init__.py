"""Kinds of steps: one module per kind, registered in the table below."""

from __future__ import annotations

from typing import Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Field, Tag

from simulator.config.base_model import invalid
from simulator.config.problems import describe, suggest
from simulator.scenario.steps.advance import AdvanceStep
from simulator.scenario.steps.base import Step
from simulator.scenario.steps.client import ClientStep
from simulator.scenario.steps.heal import HealStep
from simulator.scenario.steps.inject import FaultStep
from simulator.scenario.steps.machine import MachineStep
from simulator.scenario.steps.parallel import ParallelStep
from simulator.scenario.steps.partition import PartitionStep
from simulator.scenario.steps.repeat import RepeatStep
from simulator.scenario.steps.request import RequestStep
from simulator.scenario.steps.shell import ShellStep
from simulator.scenario.steps.wait_until import WaitUntilStep
from simulator.scenario.steps.websocket import WebSocketStep

_KINDS: tuple[type[Step], ...] = (
    RequestStep,
    WebSocketStep,
    MachineStep,
    FaultStep,
    PartitionStep,
    HealStep,
    WaitUntilStep,
    RepeatStep,
    ParallelStep,
    ShellStep,
    AdvanceStep,
    ClientStep,  # last: in other steps, `client:` is an option
)
STEPS: dict[str, type[Step]] = {kind.key: kind for kind in _KINDS}
_FIXED_PAUSES = frozenset({"sleep", "wait", "pause", "delay"})
"""Steps that flysim deliberately does not have: a test must not depend on the speed of a computer."""

TAG_PREFIX = "step "
"""Marks the kinds of steps in pydantic's error locations: unlike other parts, they are not keys of the file."""


def find_kind(data: Any) -> str | None:
    """Return the kind of step that a mapping describes, from its keys."""
    return next((key for key in STEPS if isinstance(data, dict) and key in data), None)


def _check_kind(data: Any) -> Any:
    if not isinstance(data, dict):
        raise invalid(describe(data), expected=f"a step: a mapping with one of {', '.join(STEPS)}")
    kinds = [key for key in STEPS if key in data and key != ClientStep.key and not _is_option(key, data)]
    if len(kinds) > 1:
        raise invalid(
            f'"{kinds[0]}:" and "{kinds[1]}:" in one step', expected="two steps, each as a separate list item"
        )
    if not kinds and ClientStep.key not in data:
        first = next(iter(data), "")
        if first in _FIXED_PAUSES:
            raise invalid(
                f'unknown step "{first}"',
                expected="wait_until: to wait for a condition, or advance: to move the simulated clock forward",
            )
        problem = f'unknown step "{first}"{suggest(first, STEPS)}' if data else "empty step"
        raise invalid(problem, expected=f"one of {', '.join(STEPS)}")
    return data


def _is_option(key: str, data: dict[str, Any]) -> bool:
    return key in data and any(
        key in STEPS[kind].model_fields for kind in STEPS if kind != key and kind in data
    )


def _tag(data: Any) -> str | None:
    kind = data.key if isinstance(data, Step) else find_kind(data)
    return f"{TAG_PREFIX}{kind}" if kind else None


_variants: Any = tuple(Annotated[kind, Tag(f"{TAG_PREFIX}{kind.key}")] for kind in _KINDS)
AnyStep: Any = Annotated[
    Union[_variants],  # noqa: UP007 - built from the table
    Discriminator(_tag),
    BeforeValidator(_check_kind),
]
Steps = Annotated[list[AnyStep], Field(min_length=1)]

for _kind in (RepeatStep, ParallelStep, WaitUntilStep):
    _kind.model_rebuild(_types_namespace={"AnyStep": AnyStep, "Steps": Steps})

__all__ = ["STEPS", "TAG_PREFIX", "AnyStep", "Step", "Steps", "find_kind"]

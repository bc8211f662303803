"""Machine lifecycle: a table of the states from which each action is allowed.

States and their names are Fly's (F-5.47). Fly does not document for every pair whether it refuses the action.
"""

from __future__ import annotations

from simulator.errors import WrongStateError
from simulator.routing.model import Machine, MachineState

AT_REST = frozenset({MachineState.CREATED, MachineState.STOPPED, MachineState.FAILED})
ALIVE = frozenset({MachineState.STARTED, MachineState.SUSPENDED})

ALLOWED_FROM: dict[str, frozenset[MachineState]] = {
    "started": AT_REST | {MachineState.SUSPENDED},
    "stopped": ALIVE,
    "killed": ALIVE | {MachineState.STOPPING},
    "suspended": frozenset({MachineState.STARTED}),
    "frozen": frozenset({MachineState.STARTED}),
    "destroyed": AT_REST | ALIVE | {MachineState.STOPPING},
    "destroyed without force": AT_REST,
    "cordoned": AT_REST | ALIVE,
    "uncordoned": AT_REST | ALIVE,
}


def require_state(action: str, machine: Machine) -> None:
    """Raises WrongStateError, which names the machine and its state, if that state does not allow the action."""
    allowed = ALLOWED_FROM[action]
    if machine.state not in allowed:
        raise WrongStateError(
            f"machine {machine.name} ({machine.id}) is {machine.state}, so it cannot be {action}",
            expected=f"a machine that is {_join_with_or(sorted(allowed))}",
        )


def _join_with_or(words: list[str]) -> str:
    """`a, b or c`"""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last

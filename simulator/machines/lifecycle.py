"""Which state a machine may be in for what is asked of it, as one table.

States and their names are Fly's (F-5.47). That Fly itself refuses the same is not documented for every pair.
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


def require(deed: str, machine: Machine) -> None:
    """Raises WrongStateError, which names machine and state, when the deed makes no sense now."""
    allowed = ALLOWED_FROM[deed]
    if machine.state not in allowed:
        raise WrongStateError(
            f"machine {machine.name} ({machine.id}) is {machine.state}, so it cannot be {deed}",
            expected=f"a machine that is {' or '.join(sorted(allowed))}",
        )

"""Labels of stacks, and Swarm's template for machine ids; see also `simulator.config.compose.labels`."""

from __future__ import annotations

from hashlib import sha256

RUN = "flysim.run"
"""On flysim's own stack: the process that deployed it, and removes it."""
ADDED = "flysim.added"
"""On what flysim added to an existing stack: the process that added it, and removes it."""
STACK = "com.docker.stack.namespace"
"""Set by `docker stack deploy` on everything that it creates."""

SLOT = '{{slice "0000" (len .Task.Slot)}}{{.Task.Slot}}'
"""The number of a task within its service, padded to four digits.

In Swarm's templates the number is a string, so `printf "%04d"` would fail.
"""
SLOT_DIGITS = 4
MAX_SLOTS = 10**SLOT_DIGITS - 1


def fill_in_slot(text: str, slot: int) -> str:
    """Replace the template as Swarm does when it creates the task."""
    return text.replace(SLOT, f"{slot:0{SLOT_DIGITS}d}").replace("{{.Task.Slot}}", str(slot))


def is_shared(label: str | None) -> bool:
    """Whether each task of the service gets a machine id of its own from this label."""
    return label is None or "{{" in label


def machine_id_of(label: str | None, service_id: str, slot: int) -> str:
    """A task's machine id. Without a usable label it is derived from the service and slot, so it stays the same."""
    known = fill_in_slot(label or "{{", slot)
    return known if "{{" not in known else sha256(f"{service_id}/{slot}".encode()).hexdigest()[:14]

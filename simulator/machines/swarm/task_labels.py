"""The template that Swarm fills in itself; a machine's own labels are in `simulator.config.compose.labels`."""

from __future__ import annotations

from hashlib import sha256

RUN = "flysim.run"
"""Of a stack that goes with the flysim that deployed it: its process."""
ADDED = "flysim.added"
"""Of what a flysim added to a stack that is somebody else's, and takes out again at its end: its process."""
STACK = "com.docker.stack.namespace"
"""Set by `docker stack deploy` on all that it makes."""

SLOT = '{{slice "0000" (len .Task.Slot)}}{{.Task.Slot}}'
"""The number of a task within its service, four digits. To a template it is a text: `printf "%04x"` would spell it."""
SLOT_DIGITS = 4
MAX_SLOTS = 10**SLOT_DIGITS - 1


def fill_in_slot(text: str, slot: int) -> str:
    """As Swarm does when it makes the task."""
    return text.replace(SLOT, f"{slot:0{SLOT_DIGITS}d}").replace("{{.Task.Slot}}", str(slot))


def is_shared(label: str | None) -> bool:
    """Whether each of a service's tasks makes a machine id of its own out of this label."""
    return label is None or "{{" in label


def machine_id_of(label: str | None, service_id: str, slot: int) -> str:
    """Of a task; one whose label does not tell gets an id that stays the same as long as its service is there."""
    known = fill_in_slot(label or "{{", slot)
    return known if "{{" not in known else sha256(f"{service_id}/{slot}".encode()).hexdigest()[:14]

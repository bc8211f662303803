"""What the engine says of a stack's tasks, read as machines. Pure: a list of tasks in, sightings out.

Swarm keeps the tasks of a slot that ended beside the one that took its place: a machine is the newest of them.
Source: Docker Engine API 1.41, `GET /tasks`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from simulator.config.label import MACHINE_ID, PORT, REGION
from simulator.machines.backend import Exit, Placement
from simulator.machines.swarm import label
from simulator.routing.model import Ports

Task = Mapping[str, Any]
FindHost = Callable[[str], str]
"""From the id of a node to the address at which the ports are that its tasks publish."""

_SIGNALLED = 128
"""Docker gives the status of a program that a signal ended as a shell does."""


class Phase(Enum):
    COMING = "coming"
    RUNNING = "running"
    ENDED = "ended"
    NEVER_RAN = "never ran"


_ENDED = frozenset({"complete", "shutdown", "failed", "remove", "orphaned"})
_NOT_STARTED = "starting container failed"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One machine, as its task was when it was last looked at."""

    machine_id: str
    task_id: str
    service_id: str
    slot: int
    is_one_of_many: bool
    """Whether its service has a machine in each of its slots."""
    phase: Phase
    node_id: str
    container_id: str
    placement: Placement
    complaint: str
    """What Swarm says is wrong."""
    exit_status: int
    labels: Mapping[str, str]
    made_at: str
    env: Mapping[str, str]
    is_leaving: bool
    """Whether it still runs, and was told to end."""

    @property
    def ending(self) -> Exit:
        return ending_of(self.exit_status)

    @property
    def is_stuck(self) -> bool:
        """Whether Swarm has found no place for it."""
        return self.phase is Phase.COMING and bool(self.complaint)


UNSEEN = Exit(0, "ended; Swarm does not say how")
"""It forgets a task that was told to go; sometimes before anybody can look."""


def ending_of(status: int) -> Exit:
    number = status - _SIGNALLED
    return Exit(-number) if 0 < number < signal.NSIG else Exit(status)


def sight(tasks: Iterable[Task], find_host: FindHost) -> dict[str, Sighting]:
    """Machine id -> its newest task; tasks without a region are no machines."""
    found: dict[str, Sighting] = {}
    for task in tasks:
        sighting = read_task(task, find_host)
        if sighting is None:
            continue
        earlier = found.get(sighting.machine_id)
        if earlier is None or earlier.made_at < sighting.made_at:
            found[sighting.machine_id] = sighting
    return found


def read_task(task: Task, find_host: FindHost) -> Sighting | None:
    container = task["Spec"].get("ContainerSpec", {})
    labels = container.get("Labels") or {}
    if REGION not in labels:
        return None
    status, slot = task["Status"], task.get("Slot", 0)
    ran = status.get("ContainerStatus") or {}
    variables = (variable.partition("=") for variable in container.get("Env") or ())
    env = {name: label.fill_in_slot(value, slot) for name, _, value in variables}
    machine_label = labels.get(MACHINE_ID)
    return Sighting(
        machine_id=label.machine_id_of(machine_label, task["ServiceID"], slot),
        task_id=task["ID"],
        service_id=task["ServiceID"],
        slot=slot,
        is_one_of_many=label.is_shared(machine_label),
        phase=_phase(status),
        node_id=task.get("NodeID", ""),
        container_id=ran.get("ContainerID", ""),
        placement=_placement(task, labels, env, find_host),
        complaint=status.get("Err", ""),
        exit_status=ran.get("ExitCode", 0),
        labels=labels,
        made_at=task["CreatedAt"],
        env=env,
        is_leaving=status["State"] == "running" and task.get("DesiredState") != "running",
    )


def _phase(status: Mapping[str, Any]) -> Phase:
    state = status["State"]
    if state == "rejected" or (state == "failed" and status.get("Err", "").startswith(_NOT_STARTED)):
        return Phase.NEVER_RAN
    if state in _ENDED:
        return Phase.ENDED
    return Phase.RUNNING if state == "running" else Phase.COMING


def _placement(
    task: Task, labels: Mapping[str, str], env: Mapping[str, str], find_host: FindHost
) -> Placement:
    ports = _published((task["Status"].get("PortStatus") or {}).get("Ports") or ())
    own_port = int(labels.get(PORT) or (ports[0][0] if ports else 0))
    host = find_host(task["NodeID"]) if ports and "NodeID" in task else ""
    return Placement(host, dict(ports).get(own_port, own_port), _private_ip(task, env), ports)


def _published(listed: Iterable[Mapping[str, int]]) -> Ports:
    """A port is listed for IPv4, then for IPv6, and may have another number there: that of another machine's IPv4."""
    found: dict[int, int] = {}
    for each in listed:
        if "PublishedPort" in each:
            found.setdefault(each["TargetPort"], each["PublishedPort"])
    return tuple(found.items())


def _private_ip(task: Task, env: Mapping[str, str]) -> str:
    """What the machine was told; one that was told nothing is known by its address in the overlay network."""
    if "FLY_PRIVATE_IP" in env:
        return env["FLY_PRIVATE_IP"]
    for attachment in task.get("NetworksAttachments") or ():
        for address in attachment.get("Addresses") or ():
            return f"::ffff:{address.partition('/')[0]}"
    return ""

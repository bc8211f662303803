"""Snapshots of machines, read from a stack's tasks. Pure: a list of tasks in, snapshots out.

Swarm keeps the ended tasks of a slot in addition to their replacement: the newest task of a slot is the machine.
Source: Docker Engine API 1.41, `GET /tasks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from simulator.config.compose.labels import MACHINE_ID, PORT, REGION, find_port
from simulator.machines.backend import Exit, Placement
from simulator.machines.swarm import task_labels as label
from simulator.routing.model import Ports

Task = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Node:
    host: str
    """The host name or address at which the node's tasks publish their ports."""
    is_down: bool = False


Nodes = Mapping[str, Node]
"""Node id -> node."""
Names = Mapping[str, str]
"""Service id -> name."""
NO_NAMES: Names = {}


class Phase(Enum):
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    START_FAILED = "start failed"


_ENDED = frozenset({"complete", "shutdown", "failed", "remove", "orphaned"})
_UNKNOWN_NODE = Node("")
_NOT_STARTED = "starting container failed"


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """One machine, in the state of its task at the latest poll."""

    machine_id: str
    task_id: str
    service_id: str
    service_name: str
    slot: int
    shares_service: bool
    """Whether each task of its service is a machine of its own."""
    phase: Phase
    node_id: str
    container_id: str
    placement: Placement
    """With the first published port; see `placement_for`."""
    error: str
    """Swarm's error message."""
    ending: Exit
    """Only meaningful if the task has ended."""
    labels: Mapping[str, str]
    created_at: str
    env: Mapping[str, str]
    is_stopping: bool
    """Whether it still runs, and Swarm has been asked to stop it."""
    should_run: bool
    """Whether it runs or is about to start, and Swarm intends to keep it."""
    earlier_exits: Mapping[str, Exit] = field(default_factory=dict)
    """Task id -> exit, for the tasks that it replaced and that Swarm still lists."""
    duplicate: str = ""
    """The display name of another task that should run and has the same machine id."""

    @property
    def display_name(self) -> str:
        return f"task {self.slot} of service {self.service_name}"

    @property
    def slot_key(self) -> tuple[str, int | str]:
        """Service and slot. A task and its replacement share it; a global service has a slot per node."""
        return self.service_id, self.slot or self.node_id

    @property
    def is_stuck(self) -> bool:
        """Whether Swarm cannot place it on a node."""
        return self.phase is Phase.PENDING and bool(self.error)

    def placement_for(self, internal_port: int) -> Placement:
        """The placement for its label's port, otherwise for `internal_port`.

        If it does not publish `internal_port`, the placement is that of the first published port.
        """
        port = find_port(self.labels) or internal_port
        is_default = PORT not in self.labels and port not in dict(self.placement.ports)
        if is_default and self.placement.ports:
            return self.placement
        return replace(self.placement, port=self.placement.port_for(port))


NODE_DOWN = Exit(0, "is unreachable: its node is down")
"""Swarm does not know the state of the tasks on such a node."""
UNKNOWN_EXIT = Exit(0, "exited; Swarm does not report the exit code")
"""Swarm deletes a task that it has stopped, sometimes before it can be polled."""


def is_stopping(task: Task) -> bool:
    """Whether Swarm lists it as running, and has been asked to stop it."""
    return task["Status"]["State"] == "running" and task.get("DesiredState") != "running"


def is_down(node: Mapping[str, Any]) -> bool:
    return bool(node["Status"]["State"] == "down")


def snapshot_tasks(tasks: Iterable[Task], nodes: Nodes, names: Names = NO_NAMES) -> dict[str, TaskSnapshot]:
    """Machine id -> its task. A task without a region is not a machine."""
    found: dict[str, TaskSnapshot] = {}
    for task in tasks:
        snapshot = read_task(task, nodes, names)
        if snapshot is not None:
            earlier = found.get(snapshot.machine_id)
            found[snapshot.machine_id] = snapshot if earlier is None else _choose(earlier, snapshot)
    return found


def _choose(one: TaskSnapshot, another: TaskSnapshot) -> TaskSnapshot:
    chosen = _select(one, another)
    other = another if chosen.task_id == one.task_id else one
    if other.phase is not Phase.ENDED:
        return chosen
    return replace(
        chosen, earlier_exits={**chosen.earlier_exits, **other.earlier_exits, other.task_id: other.ending}
    )


def _select(one: TaskSnapshot, another: TaskSnapshot) -> TaskSnapshot:
    """The task that should run, otherwise the newer one. Of two duplicates in different slots, the older one."""
    if one.should_run is not another.should_run:
        return one if one.should_run else another
    older, newer = sorted((one, another), key=lambda each: each.created_at)
    if newer.should_run and older.slot_key != newer.slot_key:
        return replace(older, duplicate=newer.display_name)
    return newer


def read_task(task: Task, nodes: Nodes, names: Names = NO_NAMES) -> TaskSnapshot | None:
    container = task["Spec"].get("ContainerSpec", {})
    labels = container.get("Labels") or {}
    if REGION not in labels:
        return None
    status, slot = task["Status"], task.get("Slot", 0)
    container_status = status.get("ContainerStatus") or {}
    variables = (variable.partition("=") for variable in container.get("Env") or ())
    env = {name: label.fill_in_slot(value, slot) for name, _, value in variables}
    machine_label = labels.get(MACHINE_ID)
    node = nodes.get(task.get("NodeID", ""), _UNKNOWN_NODE)
    is_unreachable = node.is_down and is_stopping(task)
    phase = Phase.ENDED if is_unreachable else _phase(status)
    return TaskSnapshot(
        machine_id=label.machine_id_of(machine_label, task["ServiceID"], slot),
        task_id=task["ID"],
        service_id=task["ServiceID"],
        service_name=names.get(task["ServiceID"], task["ServiceID"]),
        slot=slot,
        shares_service=label.is_shared(machine_label),
        phase=phase,
        node_id=task.get("NodeID", ""),
        container_id=container_status.get("ContainerID", ""),
        placement=_placement(task, env, node.host),
        error=status.get("Err", ""),
        ending=NODE_DOWN if is_unreachable else Exit.of_status(container_status.get("ExitCode", 0)),
        labels=labels,
        created_at=task["CreatedAt"],
        env=env,
        is_stopping=is_stopping(task) and not is_unreachable,
        should_run=phase in (Phase.PENDING, Phase.RUNNING) and task.get("DesiredState") == "running",
    )


def _phase(status: Mapping[str, Any]) -> Phase:
    state = status["State"]
    if state == "rejected" or (state == "failed" and status.get("Err", "").startswith(_NOT_STARTED)):
        return Phase.START_FAILED
    if state in _ENDED:
        return Phase.ENDED
    return Phase.RUNNING if state == "running" else Phase.PENDING


def _placement(task: Task, env: Mapping[str, str], host: str) -> Placement:
    ports = _published((task["Status"].get("PortStatus") or {}).get("Ports") or ())
    return Placement(host, ports[0][1] if ports else 0, _private_ip(task, env), ports)


def _published(listed: Iterable[Mapping[str, int]]) -> Ports:
    """A port is listed for IPv4 first, then for IPv6, where its number may differ and belong to another machine."""
    found: dict[int, int] = {}
    for each in listed:
        if "PublishedPort" in each:
            found.setdefault(each["TargetPort"], each["PublishedPort"])
    return tuple(found.items())


def _private_ip(task: Task, env: Mapping[str, str]) -> str:
    """FLY_PRIVATE_IP of its environment, otherwise its address in the overlay network."""
    if "FLY_PRIVATE_IP" in env:
        return env["FLY_PRIVATE_IP"]
    for attachment in task.get("NetworksAttachments") or ():
        for address in attachment.get("Addresses") or ():
            return f"::ffff:{address.partition('/')[0]}"
    return ""

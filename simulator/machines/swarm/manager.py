"""Swarm manager: requests about stacks, services, tasks and nodes, with error responses mapped to faults.

Where the SDK's methods are not enough (updating a service's whole spec, logs with task ids), requests go directly to
the engine through the SDK's HTTP session. Source: Docker Engine API 1.41.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

from simulator.config.compose.labels import MACHINE_ID, REGION
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.docker.engine import LOOPBACK, PROCESS_BACKEND_HINT, Engine, EngineError
from simulator.machines.docker.image.images import Images
from simulator.machines.swarm import task_labels as label
from simulator.machines.swarm.task import Node, TaskSnapshot, is_down, is_stopping, snapshot_tasks
from simulator.retry import retry_on

_UNSPECIFIC_ADDRESSES = ("", "0.0.0.0", "::", LOOPBACK)
_ATTEMPTS = 5

Json = dict[str, Any]
T = TypeVar("T")
SpecEdit = Callable[[Json], None]
"""Changes a service's spec in place."""


class _UpdateRejected(EnvironmentFault):
    """An update of a service failed, most likely because the service has been changed since it was read."""


class Manager:
    """One engine that manages a swarm."""

    def __init__(self, engine: Engine, info: Json) -> None:
        self.node_id: str = info["Swarm"]["NodeID"]
        """The engine's own node. Containers on other nodes cannot be killed from here."""
        self.is_single_node = info["Swarm"].get("Nodes", 1) == 1
        self._engine = engine
        self._api: Any = engine.api
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, str] = {}
        self._latest_body = b""

    @classmethod
    async def connect(cls) -> Manager:
        """Raises EnvironmentFault if no engine answers, or if it is not a swarm manager."""
        engine = await Engine.connect()
        try:
            info = await engine.call(engine.api.info)
            check_swarm(info)
        except BaseException:
            engine.close()
            raise
        return cls(engine, info)

    async def close(self) -> None:
        await self._engine.wait_for_pending()
        self._engine.close()

    async def fetch_tasks(self, stack: str) -> dict[str, TaskSnapshot] | None:
        """Machine id -> its task, in one request; None if nothing has changed since the previous call."""
        return await self._call(self._fetch_tasks, stack)

    async def services(self, stack: str) -> dict[str, Json]:
        """Service id -> service."""
        found = await self._call(self._api.services, filters=_stack_filter(stack))
        return {service["ID"]: service for service in found}

    async def find_service(self, stack: str, machine_id: str) -> str:
        """The id of the machine's service, even if it has no task; "" if there is none."""
        for service_id, service in (await self.services(stack)).items():
            container = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
            if (container.get("Labels") or {}).get(MACHINE_ID) == machine_id:
                return service_id
        return ""

    async def find_remaining(self, label_selector: str) -> str:
        """Objects with this label, for example "2 tasks"; "" if there are none. Containers are removed last."""
        for kind, ask in (
            ("task", self._api.tasks),
            ("network", self._api.networks),
            ("container", partial(self._api.containers, all=True)),
        ):
            if found := await self._call(ask, filters=_label_filter(label_selector)):
                return f"{len(found)} {kind}{'s' if len(found) > 1 else ''}"
        return ""

    async def regions(self) -> set[str]:
        """The values of the nodes' labels fly.region."""
        nodes = await self._call(self._refresh_nodes)
        return {found for node in nodes if (found := (node["Spec"].get("Labels") or {}).get(REGION))}

    async def require_images(self, specs: Iterable[MachineSpec]) -> None:
        """Build or find the images on this engine. Raises EnvironmentFault, InputError."""
        images = Images(self._engine)
        for spec in specs:
            await images.source_of(spec, ())

    async def update_service(self, service_id: str, edit: SpecEdit) -> bool:
        """Edit a service's spec and keep the rest of it; return False if the service does not exist.

        The update is rejected if the service has been changed since it was read; then it is read again and retried.
        """
        update = retry_on(_UpdateRejected, interval_seconds=0, attempts=_ATTEMPTS)
        exists: bool = await update(self._call, self._update_service, service_id, edit)
        return exists

    async def remove_service(self, service_id: str) -> None:
        """Do nothing if it does not exist."""
        await self._call_ignoring((HTTPStatus.NOT_FOUND,), self._api.remove_service, service_id)

    async def remove_all(self, label_selector: str) -> None:
        """Remove the services with this label, and the networks that are no longer used."""
        for service in await self._call(self._api.services, filters=_label_filter(label_selector)):
            await self.remove_service(service["ID"])
        for network in await self._call(self._api.networks, filters=_label_filter(label_selector)):
            with suppress(EnvironmentFault):  # Tasks that are stopping still use it.
                await self._call(self._api.remove_network, network["Id"])

    async def kill(self, container_id: str) -> None:
        """Kill a container on this engine's node. Do nothing if it does not run."""
        await self._call_ignoring((HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), self._api.kill, container_id)

    def open_log(self, service_id: str, timeout_seconds: float | None = None, /, **options: str) -> Any:
        """A response whose raw stream has the frames of a service's log, each line with its task's id. Blocks.

        `timeout_seconds`: the read timeout; None: no timeout.
        """
        params = {"stdout": "1", "stderr": "1", "details": "1", "timestamps": "1", **options}
        return self._request(
            "get", "services", service_id, "logs", params=params, stream=True, timeout=timeout_seconds
        )

    async def _call(self, request: Callable[..., T], *args: Any, **options: Any) -> T:
        """Raises EnvironmentFault for an error response, for example because the node has left the swarm."""
        try:
            return await self._engine.call(request, *args, **options)
        except EngineError as error:
            raise _swarm_fault(error.explanation) from error

    async def _call_ignoring(
        self, ignored_statuses: tuple[int, ...], request: Callable[..., object], *args: Any
    ) -> None:
        """Like `_call`, without a result; ignores error responses with these statuses."""
        try:
            await self._engine.call(request, *args)
        except EngineError as error:
            if error.status not in ignored_statuses:
                raise _swarm_fault(error.explanation) from error

    def _fetch_tasks(self, stack: str) -> dict[str, TaskSnapshot] | None:
        """The list of a thousand tasks is megabytes of JSON. It is parsed only if it has changed."""
        response = self._request("get", "tasks", params={"filters": json.dumps(_stack_filter(stack))})
        if not response.ok:
            raise _swarm_fault(response.text.strip())
        if response.content == self._latest_body:
            return None
        with _gc_paused():
            tasks = response.json()
            if any(is_stopping(task) or task.get("NodeID", "") not in self._nodes for task in tasks):
                self._refresh_nodes()
            self._refresh_names({task["ServiceID"] for task in tasks}, stack)
            snapshots = snapshot_tasks(tasks, self._nodes, self._names)
            del tasks
        self._latest_body = response.content
        return snapshots

    def _refresh_names(self, service_ids: Set[str], stack: str) -> None:
        """Fetch names if there are new services. A service that has been removed is named by its id."""
        if not service_ids <= self._names.keys():
            services = self._api.services(filters=_stack_filter(stack))
            known = {each["ID"]: each["Spec"]["Name"] for each in services}
            self._names = {each: known.get(each, each) for each in service_ids}

    def _refresh_nodes(self) -> list[Json]:
        nodes: list[Json] = self._api.nodes()
        self._nodes = {each["ID"]: Node(self._address(each), is_down(each)) for each in nodes}
        return nodes

    def _update_service(self, service_id: str, edit: SpecEdit) -> bool:
        """Raises _UpdateRejected."""
        found = self._request("get", "services", service_id)
        if found.status_code == HTTPStatus.NOT_FOUND:
            return False
        spec, version = found.json()["Spec"], found.json()["Version"]["Index"]
        edit(spec)
        response = self._request(
            "post",
            "services",
            service_id,
            "update",
            params={"version": version},
            data=json.dumps(spec),
            headers={"Content-Type": "application/json"},
        )
        if not response.ok:
            raise _UpdateRejected(f"Swarm cannot update service {service_id}: {response.text.strip()}")
        return True

    def _request(self, method: str, *path: str, **options: Any) -> Any:
        """A request through the SDK's HTTP session, which sets no timeout by itself."""
        url = "/".join([self._api.base_url, f"v{self._api.api_version}", *path])
        return self._api.request(method, url, **{"timeout": self._api.timeout, **options})

    def _address(self, node: Json) -> str:
        own = self._engine.published_host
        if node["ID"] == self.node_id:
            return own
        address: str = node.get("Status", {}).get("Addr", "")
        if address in _UNSPECIFIC_ADDRESSES:  # A manager that advertises no specific address.
            address = node.get("ManagerStatus", {}).get("Addr", "").rpartition(":")[0].strip("[]")
        return own if address in _UNSPECIFIC_ADDRESSES else address


def set_replicas(count: int, *, force: bool = False) -> SpecEdit:
    """`force`: replace the tasks even if the count stays the same."""

    def edit(spec: Json) -> None:
        spec["Mode"] = {"Replicated": {"Replicas": count}}
        if force:
            spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1

    return edit


def check_swarm(info: Json) -> None:
    """Raises EnvironmentFault for an engine that is not a swarm manager. `info`: as `docker info` shows it."""
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState", "inactive")
    if state != "active":
        reason = f": {swarm['Error']}" if swarm.get("Error") else ""
        raise EnvironmentFault(
            f"the Docker engine is not part of a swarm: its node is {state}{reason}",
            hint=f"docker swarm init, or docker swarm join, or set DOCKER_HOST to a manager, {PROCESS_BACKEND_HINT}",
        )
    if not swarm.get("ControlAvailable"):
        managers = ", ".join(each["Addr"] for each in swarm.get("RemoteManagers") or ())
        raise EnvironmentFault(
            "the Docker engine is a worker of its swarm, and only a manager can deploy",
            hint=f"set DOCKER_HOST to a manager ({managers or 'docker node ls lists them on a manager'}), "
            "or promote this node from a manager: docker node promote",
        )


def _swarm_fault(explanation: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"error response from the swarm manager: {explanation}",
        hint="check that the node is still a manager: docker node ls",
    )


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Parsing allocates many objects, which would make the garbage collector traverse the whole heap repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _stack_filter(stack: str) -> Mapping[str, list[str]]:
    return _label_filter(f"{label.STACK}={stack}")


def _label_filter(label_selector: str) -> Mapping[str, list[str]]:
    return {"label": [label_selector]}

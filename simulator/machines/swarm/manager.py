"""A manager of the swarm: its engine, asked about stacks, services and nodes, its refusals told in the user's words.

The SDK's low-level client is a session of `requests`; where its own methods leave something out (a service's whole
spec, which line of a log is whose) the engine is asked directly. Source: Docker Engine API 1.41.
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

_UNSPECIFIC_ADDRESSES = ("", "0.0.0.0", "::", LOOPBACK)
_ATTEMPTS = 5

Json = dict[str, Any]
T = TypeVar("T")
SpecEdit = Callable[[Json], None]
"""Changes a service's spec in place."""


class Manager:
    """One engine that manages a swarm."""

    def __init__(self, engine: Engine, info: Json) -> None:
        self.node_id: str = info["Swarm"]["NodeID"]
        """Of the engine itself; it alone can be told to kill what runs there."""
        self.is_single_node = info["Swarm"].get("Nodes", 1) == 1
        self._engine = engine
        self._api: Any = engine.api
        self._nodes: dict[str, Node] = {}
        self._names: dict[str, str] = {}
        self._latest_body = b""

    @classmethod
    async def connect(cls) -> Manager:
        """Raises EnvironmentFault when no engine answers, or one that manages no swarm."""
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
        """The machines that the stack's tasks are, in one request; None while nothing has changed since the last."""
        return await self._call(self._fetch_tasks, stack)

    async def services(self, stack: str) -> dict[str, Json]:
        found = await self._call(self._api.services, filters=_stack_filter(stack))
        return {service["ID"]: service for service in found}

    async def find_service(self, stack: str, machine_id: str) -> str:
        """The id of the service that is this machine, and has no task perhaps; empty: there is none."""
        for service_id, service in (await self.services(stack)).items():
            container = service["Spec"]["TaskTemplate"].get("ContainerSpec") or {}
            if (container.get("Labels") or {}).get(MACHINE_ID) == machine_id:
                return service_id
        return ""

    async def find_remaining(self, label_selector: str) -> str:
        """What has this label, in words: Swarm's own, and containers of this engine, which go last."""
        for kind, ask in (
            ("task", self._api.tasks),
            ("network", self._api.networks),
            ("container", partial(self._api.containers, all=True)),
        ):
            if found := await self._call(ask, filters=_label_filter(label_selector)):
                return f"{len(found)} {kind}{'s' if len(found) > 1 else ''}"
        return ""

    async def regions(self) -> set[str]:
        """That nodes have for their label fly.region."""
        nodes = await self._call(self._refresh_nodes)
        return {found for node in nodes if (found := (node["Spec"].get("Labels") or {}).get(REGION))}

    async def require_images(self, specs: Iterable[MachineSpec]) -> None:
        """On this engine, built if they are to be. Raises EnvironmentFault, InputError."""
        images = Images(self._engine)
        for spec in specs:
            await images.source_of(spec, ())

    async def update_service(self, service_id: str, edit: SpecEdit) -> bool:
        """Alter a service's spec, all else in it as it is; whether there is such a service."""
        return await self._call(self._update_service, service_id, edit)

    async def remove_service(self, service_id: str) -> None:
        """One that is not there is gone already."""
        await self._call_ignoring((HTTPStatus.NOT_FOUND,), self._api.remove_service, service_id)

    async def remove_all(self, label_selector: str) -> None:
        """The services that have this label; its networks as well, once nobody is in them."""
        for service in await self._call(self._api.services, filters=_label_filter(label_selector)):
            await self.remove_service(service["ID"])
        for network in await self._call(self._api.networks, filters=_label_filter(label_selector)):
            with suppress(EnvironmentFault):  # Tasks that are ending still are.
                await self._call(self._api.remove_network, network["Id"])

    async def kill(self, container_id: str) -> None:
        """One of this engine's own containers; one that does not run is let be."""
        await self._call_ignoring((HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT), self._api.kill, container_id)

    def open_log(self, service_id: str, timeout_seconds: float | None = None, /, **options: str) -> Any:
        """Blocks. A response whose raw stream are the frames of a service's log, each line with its task's id.

        `timeout_seconds`: how long nothing may come; None: for ever.
        """
        told = {"stdout": "1", "stderr": "1", "details": "1", "timestamps": "1", **options}
        return self._request(
            "get", "services", service_id, "logs", params=told, stream=True, timeout=timeout_seconds
        )

    async def _call(self, request: Callable[..., T], *args: Any, **options: Any) -> T:
        """Raises EnvironmentFault for what the engine refuses: somebody may have left the swarm meanwhile."""
        try:
            return await self._engine.call(request, *args, **options)
        except EngineError as error:
            raise _swarm_fault(error.explanation) from error

    async def _call_ignoring(
        self, ignored_statuses: tuple[int, ...], request: Callable[..., object], *args: Any
    ) -> None:
        """As `_do`, of what has no answer; a refusal with a status of `let` is none."""
        try:
            await self._engine.call(request, *args)
        except EngineError as error:
            if error.status not in ignored_statuses:
                raise _swarm_fault(error.explanation) from error

    def _fetch_tasks(self, stack: str) -> dict[str, TaskSnapshot] | None:
        """The list of a thousand tasks is megabytes, and the same most of the time: then it is not even read."""
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
            seen = snapshot_tasks(tasks, self._nodes, self._names)
            del tasks
        self._latest_body = response.content
        return seen

    def _refresh_names(self, service_ids: Set[str], stack: str) -> None:
        """Of services that are new; one that is gone already keeps its id for a name."""
        if not service_ids <= self._names.keys():
            services = self._api.services(filters=_stack_filter(stack))
            known = {each["ID"]: each["Spec"]["Name"] for each in services}
            self._names = {each: known.get(each, each) for each in service_ids}

    def _refresh_nodes(self) -> list[Json]:
        nodes: list[Json] = self._api.nodes()
        self._nodes = {each["ID"]: Node(self._address(each), is_down(each)) for each in nodes}
        return nodes

    def _update_service(self, service_id: str, edit: SpecEdit) -> bool:
        """Somebody else may change it at the same time: then it is read again."""
        response = None
        for _ in range(_ATTEMPTS):
            found = self._request("get", "services", service_id)
            if found.status_code == 404:
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
            if response.ok:
                return True
        said = response.text if response is not None else ""
        raise EnvironmentFault(f"Swarm does not change service {service_id}: {said.strip()}")

    def _request(self, method: str, *path: str, **options: Any) -> Any:
        """What the SDK's session is asked directly has no time limit of its own."""
        url = "/".join([self._api.base_url, f"v{self._api.api_version}", *path])
        return self._api.request(method, url, **{"timeout": self._api.timeout, **options})

    def _address(self, node: Json) -> str:
        own = self._engine.published_host
        if node["ID"] == self.node_id:
            return own
        address: str = node.get("Status", {}).get("Addr", "")
        if address in _UNSPECIFIC_ADDRESSES:  # A manager that was given no address to be known by.
            address = node.get("ManagerStatus", {}).get("Addr", "").rpartition(":")[0].strip("[]")
        return own if address in _UNSPECIFIC_ADDRESSES else address


def set_replicas(count: int, *, force: bool = False) -> SpecEdit:
    """`anew`: also where the count stays the same, the tasks are made again."""

    def edit(spec: Json) -> None:
        spec["Mode"] = {"Replicated": {"Replicas": count}}
        if force:
            spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1

    return edit


def check_swarm(info: Json) -> None:
    """Raises EnvironmentFault for an engine that cannot deploy."""
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState", "inactive")
    if state != "active":
        words = f": {swarm['Error']}" if swarm.get("Error") else ""
        raise EnvironmentFault(
            f"the Docker engine is in no swarm, its node is {state}{words}",
            hint=f"docker swarm init, or docker swarm join, or let DOCKER_HOST name a manager, {PROCESS_BACKEND_HINT}",
        )
    if not swarm.get("ControlAvailable"):
        managers = ", ".join(each["Addr"] for each in swarm.get("RemoteManagers") or ())
        raise EnvironmentFault(
            "the Docker engine is a worker of its swarm, and only a manager can be told to deploy",
            hint=f"let DOCKER_HOST name a manager ({managers or 'docker node ls lists them there'}), "
            "or have one promote this node: docker node promote",
        )


def _swarm_fault(words: str) -> EnvironmentFault:
    hint = "see whether its manager is still one: docker node ls"
    return EnvironmentFault(f"the swarm does not answer any more: {words}", hint=hint)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """What is read is gone in a moment; the collector would look through all of flysim meanwhile, again and again."""
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

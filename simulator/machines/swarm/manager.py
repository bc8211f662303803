"""A manager of the swarm: its engine's answers awaited in threads, its failures told in the user's words.

The SDK's low-level client is a session of `requests`; where its own methods leave something out (a service's whole
spec, which line of a log is whose) the engine is asked directly. Source: Docker Engine API 1.41.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from simulator.errors import EnvironmentFault
from simulator.machines.swarm import label

if TYPE_CHECKING:
    from docker.api.client import APIClient

USE_PROCESSES = "or run the machines as processes: --backend process"
LOOPBACK = "127.0.0.1"
_UNSPECIFIC = ("", "0.0.0.0", "::", LOOPBACK)
_THREADS = 8
_SOCKETS = 256
"""Logs are followed for as long as their services are there."""
_SLOWEST_SECONDS = 60
_ATTEMPTS = 5

Json = dict[str, Any]


class Manager:
    """One engine that manages a swarm."""

    def __init__(self, api: APIClient, host: str, info: Json) -> None:
        self.api = api
        self.node_id: str = info["Swarm"]["NodeID"]
        """Of the engine itself; it alone can be told to kill what runs there."""
        self.is_alone = info["Swarm"].get("Nodes", 1) == 1
        self._host = host
        self._addresses: dict[str, str] = {}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="swarm")

    @classmethod
    async def connect(cls) -> Manager:
        """Raises EnvironmentFault when no engine answers, or one that manages no swarm."""
        return await asyncio.to_thread(_connect)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.api.close()

    async def tasks(self, stack: str) -> list[Json]:
        """All of the stack's tasks, those that ended too, in one request."""
        tasks: list[Json] = await self._do(lambda: self.api.tasks(filters=_of(stack)))
        return tasks

    async def services(self, stack: str) -> dict[str, Json]:
        found = await self._do(lambda: self.api.services(filters=_of(stack)))
        return {service["ID"]: service for service in found}

    async def find_left(self, stack: str) -> str:
        """What there still is of it, in words: Swarm's own, and containers of this engine, which go last."""
        for kind, ask in (
            ("task", self.api.tasks),
            ("network", self.api.networks),
            ("container", partial(self.api.containers, all=True)),
        ):
            if found := await self._do(partial(ask, filters=_of(stack))):
                return f"{len(found)} {kind}{'s' if len(found) > 1 else ''}"
        return ""

    async def regions(self) -> set[str]:
        """That nodes have for their label fly.region."""
        nodes = await self._do(self.api.nodes)
        self._note_addresses(nodes)
        return {found for node in nodes if (found := (node["Spec"].get("Labels") or {}).get(label.REGION))}

    async def find_missing_image(self, images: set[str]) -> str | None:
        """One that this engine does not have."""
        from docker.errors import ImageNotFound

        for image in sorted(images):
            try:
                await self._do(partial(self.api.inspect_image, image))
            except ImageNotFound:
                return image
        return None

    async def learn_hosts(self) -> None:
        self._note_addresses(await self._do(self.api.nodes))

    def knows_host(self, node_id: str) -> bool:
        return node_id in self._addresses

    def find_host(self, node_id: str) -> str:
        """Where the ports are that tasks on that node publish."""
        return self._addresses.get(node_id, "")

    async def change(self, service_id: str, alter: Callable[[Json], None]) -> bool:
        """Alter a service's spec, all else in it as it is; whether there is such a service."""
        return bool(await self._do(lambda: self._change(service_id, alter)))

    async def remove_service(self, service_id: str) -> None:
        from docker.errors import NotFound

        try:
            await self._do(lambda: self.api.remove_service(service_id))
        except NotFound:
            return

    async def kill(self, container_id: str) -> None:
        """One of this engine's own containers; one that does not run is let be."""
        from docker.errors import APIError

        try:
            await self._do(lambda: self.api.kill(container_id))
        except APIError as error:
            if error.status_code not in (404, 409):
                raise

    def open_log(self, service_id: str, **options: str) -> Any:
        """Blocks. A response whose raw stream are the frames of a service's log, each line with its task's id."""
        url = f"{self.api.base_url}/v{self.api.api_version}/services/{service_id}/logs"
        told = {"stdout": "1", "stderr": "1", "details": "1", "timestamps": "1", **options}
        return self.api.get(url, params=told, stream=True, timeout=None)

    async def _do(self, request: Callable[[], Any]) -> Any:
        """Raises docker's APIError; EnvironmentFault for an engine that has gone."""
        from requests.exceptions import ConnectionError, Timeout

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, request)
        except (ConnectionError, Timeout) as error:
            raise EnvironmentFault(
                f"the Docker engine at {self._host} does not answer any more",
                mend=f"see whether it runs: docker info; {USE_PROCESSES}",
            ) from error

    def _change(self, service_id: str, alter: Callable[[Json], None]) -> bool:
        """Somebody else may change it at the same time: then it is read again."""
        service = f"{self.api.base_url}/v{self.api.api_version}/services/{service_id}"
        answer = None
        for _ in range(_ATTEMPTS):
            found = self.api.get(service)
            if found.status_code == 404:
                return False
            spec, version = found.json()["Spec"], found.json()["Version"]["Index"]
            alter(spec)
            answer = self.api.post(
                f"{service}/update",
                params={"version": version},
                data=json.dumps(spec),
                headers={"Content-Type": "application/json"},
            )
            if answer.ok:
                return True
        said = answer.json().get("message", answer.text) if answer is not None else ""
        raise EnvironmentFault(f"Swarm does not change service {service_id}: {said}")

    def _note_addresses(self, nodes: list[Json]) -> None:
        for node in nodes:
            self._addresses[node["ID"]] = self._address(node)

    def _address(self, node: Json) -> str:
        own = urlsplit(self._host).hostname or LOOPBACK
        if node["ID"] == self.node_id:
            return own
        address: str = node.get("Status", {}).get("Addr", "")
        if address in _UNSPECIFIC:  # A manager that was given no address to be known by.
            address = node.get("ManagerStatus", {}).get("Addr", "").rpartition(":")[0].strip("[]")
        return own if address in _UNSPECIFIC else address


def alter_replicas(count: int, *, anew: bool = False) -> Callable[[Json], None]:
    """`anew`: also where the count stays the same, the tasks are made again."""

    def alter(spec: Json) -> None:
        spec["Mode"] = {"Replicated": {"Replicas": count}}
        if anew:
            spec["TaskTemplate"]["ForceUpdate"] = spec["TaskTemplate"].get("ForceUpdate", 0) + 1

    return alter


def _of(stack: str) -> Mapping[str, list[str]]:
    return {"label": [f"{label.STACK}={stack}"]}


def _connect() -> Manager:
    import docker
    from docker.errors import DockerException

    host = os.environ.get("DOCKER_HOST") or _host_of_context()
    try:
        client = docker.from_env(
            environment={**os.environ, **({"DOCKER_HOST": host} if host else {})},
            timeout=_SLOWEST_SECONDS,
            use_ssh_client=host.startswith("ssh://"),
            max_pool_size=_SOCKETS,
        )
        info = client.api.info()
    except (DockerException, OSError, ValueError) as error:
        raise _no_engine(error, host) from error
    _check_swarm(info)
    return Manager(client.api, host, info)


def _host_of_context() -> str:
    """What `docker` itself talks to; the SDK does not look at contexts, and both have to mean the same engine."""
    command = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def _check_swarm(info: Json) -> None:
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState", "inactive")
    if state != "active":
        words = f": {swarm['Error']}" if swarm.get("Error") else ""
        raise EnvironmentFault(
            f"the Docker engine is not part of a swarm; it is {state}{words}",
            mend=f"docker swarm init, or docker swarm join …, or DOCKER_HOST to name a manager, {USE_PROCESSES}",
        )
    if not swarm.get("ControlAvailable"):
        managers = ", ".join(each["Addr"] for each in swarm.get("RemoteManagers") or ())
        raise EnvironmentFault(
            "the Docker engine is a worker of its swarm, and only a manager can be told to deploy",
            mend=f"let DOCKER_HOST name a manager ({managers or 'docker node ls there lists them'}), "
            "or promote this one there: docker node promote",
        )


def _no_engine(error: BaseException, host: str) -> EnvironmentFault:
    where = host or "its usual socket"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PermissionError):
            return EnvironmentFault(
                f"the Docker engine at {where} may not be used by this user",
                mend=f"ask for membership in the group docker (it is as good as root), {USE_PROCESSES}",
            )
        cause = cause.__cause__ or cause.__context__
    return EnvironmentFault(
        f"no Docker engine answers at {where}: {error}",
        mend=f"start it, or let DOCKER_HOST name the one to use; {USE_PROCESSES}",
    )

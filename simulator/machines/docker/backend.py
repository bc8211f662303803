"""Docker backend: one container per machine, created from the app's image or part of a Compose project.

Machines are reached at ports published on the engine's loopback address. This works the same way for an engine on
this computer, in a virtual machine or on another host. Among themselves, machines use private addresses and names as
on Fly (`network/networks.py`). State changes come from the engine's event stream.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from simulator.cancellation import shielded
from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import FindEdge, Observer, Placement
from simulator.machines.cleanup import container_cleanup as container_cleanup
from simulator.machines.cleanup.launcher import CleanupProcess
from simulator.machines.docker.container.factory import ContainerFactory
from simulator.machines.docker.container.listening_ports import format_addresses, listening_ports
from simulator.machines.docker.container.machine_container import MachineContainer
from simulator.machines.docker.engine import Engine, EngineError, cancel_all
from simulator.machines.docker.events import ContainerEvent, EventStream
from simulator.machines.docker.network.tunnel import Address
from simulator.machines.docker.project import Project, container_name, locate, own_networks
from simulator.retry import retry_on
from simulator.routing.model import App

_RECONNECT_SECONDS = 1.0


class DockerBackend:
    """Runs every machine as a container of one engine."""

    can_suspend = True

    def __init__(
        self,
        apps: Iterable[App] = (),
        *,
        project: Project | None = None,
        find_edge: FindEdge = lambda port, region: None,
    ) -> None:
        """`project`: the Compose project whose containers are machines, including containers created later.

        `find_edge` returns the edge address that a `.flycast` name leads to, for machines of a region.
        """
        self._apps = tuple(apps)
        self._project = project
        self._find_edge = find_edge
        self.run_id = secrets.token_hex(4)
        """The value of the label flysim.run on everything that this backend creates."""
        # -P: do not import modules from the user's folder. The folder stays the same because DOCKER_CERT_PATH may be
        # relative to it.
        self._cleanup = CleanupProcess(
            container_cleanup.__file__, self.run_id, options=["-P"], env=os.environ
        )
        self._containers: dict[str, MachineContainer] = {}
        self._event_tasks: set[asyncio.Task[None]] = set()
        self._reconnected_at = 0.0
        """The loop's time of the latest reconnection to the event stream."""
        self._open_lock = asyncio.Lock()
        self._join_lock = asyncio.Lock()
        """Held while a project container is read and added, so that none is added twice."""
        self._closing: asyncio.Task[None] | None = None
        self._observer: Observer | None = None
        self._own_networks: frozenset[str] = frozenset()
        self._engine: Engine | None = None
        self._events: EventStream
        self._factory: ContainerFactory

    # The protocol.

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        engine = await self._open()
        self._observer = observer
        if self._project is None:
            return
        self._own_networks = await own_networks(engine)
        known = {spec.id: spec for spec in specs}
        async with self._join_lock:
            for attrs in await self._project.find_containers(engine):
                spec = self._project.read(attrs, known.values())
                if spec.id not in known:  # Created after `specs` were read.
                    known[spec.id] = spec
                    observer.machine_added(spec)
                await self._adopt(attrs, known[spec.id])

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        await self._open()
        container = self._containers.get(spec.id)
        if container is None:
            container = self._containers[spec.id] = await self._create(spec, observer, dns_address)
        try:
            await container.start()
        except EnvironmentFault as fault:
            cause = fault.__cause__
            if not (container.is_ours and isinstance(cause, EngineError) and cause.is_container_gone):
                raise
            # It was removed externally, and the engine's event about that has not arrived yet.
            container = self._containers[spec.id] = await self._create(spec, observer, dns_address)
            await container.start()
        return container.placement

    async def stop(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.stop()

    async def kill(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.kill()

    async def suspend(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.suspend()

    async def resume(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.resume()

    async def isolate(self, machine_id: str) -> bool:
        container = self._containers.get(machine_id)
        return container is not None and await container.isolate()

    async def rejoin(self, machine_id: str) -> None:
        if container := self._containers.get(machine_id):
            await container.rejoin()

    async def release(self, machine_id: str) -> None:
        """Remove the container if flysim created it; a container of the project stays, stopped."""
        container = self._containers.get(machine_id)
        if container is not None and container.is_ours:
            await container.remove()
            self._forget(machine_id, container)
            self._factory.release_address(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        container = self._containers.get(machine_id)
        if container is None or self._engine is None:
            return ()
        open_ports, loopback_ports = await self._engine.call(listening_ports, self._engine.api, container.id)
        return format_addresses(container.placement, open_ports, loopback_ports)

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        """Always None: a container does not start if a port that it publishes is in use."""
        return None

    async def close(self) -> None:
        """Remove everything that was created. Completes even if it is canceled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        try:
            await shielded(self._closing)
        finally:
            self._closing = None

    async def _close(self) -> None:
        engine = self._engine
        if engine is None:
            return
        await engine.wait_for_pending()
        await asyncio.gather(*(self._shut_down(each) for each in self._containers.values()))
        await self._factory.close()
        self._events.close()
        await cancel_all(self._event_tasks)
        await engine.wait_for_pending()
        await engine.call(container_cleanup.remove_resources, engine.api, self.run_id)
        self._containers.clear()
        await self._cleanup.finish()
        engine.close()
        self._engine = None

    # The engine and its events.

    async def _open(self) -> Engine:
        async with self._open_lock:
            if self._engine is None:
                engine = await Engine.connect()
                try:
                    self._factory = ContainerFactory(engine, self.run_id, self._apps, self._find_edge_for)
                    self._events = EventStream(engine.api, self._on_event, self._on_disconnect)
                    await engine.call(self._events.open)
                    self._cleanup.start()
                except BaseException:
                    engine.close()
                    raise
                self._engine = engine
        return self._engine

    def _on_event(self, event: ContainerEvent) -> None:
        owners = [each for each in self._containers.items() if each[1].id == event.container_id]
        for machine_id, container in owners:
            self._spawn(self._dispatch(machine_id, container, event))
        is_machine = self._project is not None and self._project.is_machine(event.attributes)
        if not owners and event.action == "start" and is_machine:
            self._spawn(self._join(event.container_id))

    def _on_disconnect(self) -> None:
        self._spawn(self._reconnect())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run in the background; `close` cancels what has not finished."""
        task = asyncio.create_task(self._report_faults(work))
        self._event_tasks.add(task)
        task.add_done_callback(self._event_tasks.discard)

    async def _report_faults(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except EngineError:  # The container has been removed in the meantime.
            return
        except (EnvironmentFault, InputError) as error:
            if self._observer is not None:
                self._observer.problem_reported(str(error))

    async def _dispatch(self, machine_id: str, container: MachineContainer, event: ContainerEvent) -> None:
        await container.handle_event(event)
        is_gone = event.action == "destroy" and self._forget(machine_id, container)
        if is_gone and not container.is_ours and self._observer is not None:
            self._observer.machine_removed(machine_id)

    def _forget(self, machine_id: str, container: MachineContainer) -> bool:
        """Return False if the container was released already or another has replaced it."""
        is_known = self._containers.get(machine_id) is container
        if is_known:
            del self._containers[machine_id]
        return is_known

    async def _reconnect(self) -> None:
        """Reopen the event stream. The engine has restarted, maybe with its containers, or the connection broke."""
        assert self._engine is not None
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._reconnected_at + _RECONNECT_SECONDS - loop.time()))
        try:
            await self._engine.call(self._events.open)
        except EnvironmentFault:
            self._assume_exits()
            await asyncio.sleep(_RECONNECT_SECONDS)
            reopen = retry_on(EnvironmentFault, interval_seconds=_RECONNECT_SECONDS)
            await reopen(self._engine.call, self._events.open)
        self._reconnected_at = loop.time()
        for container in tuple(self._containers.values()):
            self._spawn(container.refresh())
        if self._project is not None:
            for attrs in await self._project.find_containers(self._engine):
                self._spawn(self._join(attrs["Id"]))

    def _assume_exits(self) -> None:
        """While the engine does not answer, route to no container; `refresh` corrects this after the reconnection."""
        for container in self._containers.values():
            self._on_event(ContainerEvent(container.id, "die", {"exitCode": "137"}))

    # Containers of the Compose project.

    async def _join(self, container_id: str) -> None:
        """Add a container of the project that has just started."""
        assert self._engine is not None
        assert self._project is not None
        assert self._observer is not None
        async with self._join_lock:
            if any(each.id == container_id for each in self._containers.values()):
                return
            attrs = await self._engine.call(self._engine.api.inspect_container, container_id)
            spec = self._project.read(attrs, [each.spec for each in self._containers.values()])
            previous = self._containers.get(spec.id)
            if previous is not None:
                await previous.refresh()
                if previous.is_running:
                    raise InputError(
                        f"container {container_name(attrs)} is not routed to: another container is already "
                        f"machine {spec.id}"
                    )
            else:
                self._observer.machine_added(spec)
            await self._adopt(attrs, spec if previous is None else previous.spec)

    async def _adopt(self, attrs: Any, spec: MachineSpec) -> None:
        assert self._engine is not None
        assert self._observer is not None
        host, own_networks = self._engine.published_host, self._own_networks

        def locate_machine(attrs: Any) -> Placement:
            return locate(attrs, spec.all_ports, host, own_networks)

        container = MachineContainer(
            self._engine, attrs["Id"], spec, locate_machine(attrs), self._observer, locate_machine
        )
        self._containers[spec.id] = container
        try:
            await container.refresh()
        except EngineError as error:  # Its state has changed since it was read; an event will follow.
            if not error.is_gone_or_conflict:
                raise

    async def _shut_down(self, container: MachineContainer) -> None:
        with suppress(EnvironmentFault, InputError):  # Nothing can be done about it while closing.
            await (container.kill() if container.is_ours else container.restore())
        container.close()

    # Containers that flysim creates.

    async def _create(self, spec: MachineSpec, observer: Observer, dns_address: str) -> MachineContainer:
        if spec.is_adopted:
            raise EnvironmentFault(
                f"machine {spec.name} of app {spec.app} cannot start: its container has been removed",
                hint=f"docker compose -f {self._project.path if self._project else 'FILE'} up -d",
            )
        originals = (
            each for each in self._containers.values() if each.spec.app == spec.app and not each.is_ours
        )
        original = min(originals, key=lambda each: each.spec.region != spec.region, default=None)
        if original is not None:
            return await self._factory.clone(spec, original, observer, self._own_networks)
        return await self._factory.make(spec, observer, dns_address)

    async def _find_edge_for(self, port: int, client_ip: str) -> Address | None:
        container_id = await self._factory.find_container(client_ip)
        regions = (each.spec.region for each in self._containers.values() if each.id == container_id)
        return self._find_edge(port, next(regions, ""))

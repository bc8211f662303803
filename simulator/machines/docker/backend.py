"""The backend of containers: each machine is one, made from its app's image or taken from a Compose project.

Machines are reached by ports that they publish on the engine's loopback address, so it makes no difference whether
the engine runs on this computer, in a virtual machine of it, or elsewhere. Between one another they have private
addresses as on Fly, and names from flysim (`network.py`). What the engine tells of containers is heard at once.
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
from simulator.machines.docker.container.listening_ports import listening_ports, listening_words
from simulator.machines.docker.container.machine_container import MachineContainer
from simulator.machines.docker.engine import Engine, Refusal, give_up
from simulator.machines.docker.events import ContainerEvent, EventStream
from simulator.machines.docker.network.tunnel import Address
from simulator.machines.docker.project import Project, locate, name_of, own_networks
from simulator.routing.model import App

_REGAIN_SECONDS = 1.0


class DockerBackend:
    """Runs every machine as a container of one engine."""

    freezes = True

    def __init__(
        self,
        apps: Iterable[App] = (),
        *,
        project: Project | None = None,
        find_edge: FindEdge = lambda port, region: None,
    ) -> None:
        """`project`: whose containers to take, also those that join later.

        `find_edge` tells where the edge listens that a `.flycast` name leads to, for machines of a region.
        """
        self._apps = tuple(apps)
        self._project = project
        self._find_edge = find_edge
        self.run = secrets.token_hex(4)
        """What all that it makes has for the label flysim.run."""
        # Nothing that it loads is to be in the user's folder (-P), while names in DOCKER_CERT_PATH may start there.
        self._cleanup = CleanupProcess(container_cleanup.__file__, self.run, options=["-P"], env=os.environ)
        self._containers: dict[str, MachineContainer] = {}
        self._hearing: set[asyncio.Task[None]] = set()
        self._regained_at = 0.0
        """When, by the loop's clock, the engine was heard again after it had hung up."""
        self._opening = asyncio.Lock()
        self._meeting = asyncio.Lock()
        """Held while containers of others are looked at: nobody is met twice."""
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
        async with self._meeting:
            for described in await self._project.find_containers(engine):
                spec = self._project.read(described, known.values())
                if spec.id not in known:  # It came after the look that `specs` are from.
                    known[spec.id] = spec
                    observer.machine_joined(spec)
                await self._take(described, known[spec.id])

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        await self._open()
        container = self._containers.get(spec.id)
        if container is None:
            container = self._containers[spec.id] = await self._make(spec, observer, dns_address)
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
        """One that is not ours is kept, at rest, for its owner."""
        container = self._containers.get(machine_id)
        if container is not None and container.is_ours:
            await container.remove()
            self._forget(machine_id, container)
            self._factory.give_back(machine_id)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        container = self._containers.get(machine_id)
        if container is None or self._engine is None:
            return ()
        open_ports, own_ports = await self._engine.do(listening_ports, self._engine.api, container.id)
        return listening_words(container.placement, open_ports, own_ports)

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        """A published port is the container's, or it would not have started."""
        return None

    async def close(self) -> None:
        """To its end, also when it is cancelled: nobody else would remove what is left, but the sweeper, later."""
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
        await engine.settle()
        await asyncio.gather(*(self._leave(each) for each in self._containers.values()))
        await self._factory.close()
        self._events.close()
        await give_up(self._hearing)
        await engine.settle()
        await engine.do(container_cleanup.sweep, engine.api, self.run)
        self._containers.clear()
        await self._cleanup.finish()
        engine.close()
        self._engine = None

    # The engine.

    async def _open(self) -> Engine:
        async with self._opening:
            if self._engine is None:
                engine = await Engine.connect()
                try:
                    self._factory = ContainerFactory(engine, self.run, self._apps, self._find_edge_for)
                    self._events = EventStream(engine.api, self._hear, self._lose_engine)
                    await engine.do(self._events.open)
                    self._cleanup.start()
                except BaseException:
                    engine.close()
                    raise
                self._engine = engine
        return self._engine

    def _hear(self, event: ContainerEvent) -> None:
        heard_by = [each for each in self._containers.items() if each[1].id == event.container_id]
        for machine_id, container in heard_by:
            self._do(self._pass_on(machine_id, container, event))
        is_machine = self._project is not None and self._project.is_machine(event.attributes)
        if not heard_by and event.action == "start" and is_machine:
            self._do(self._welcome(event.container_id))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """What the engine has told; at the end nothing more is of interest but ends."""
        task = asyncio.create_task(self._aloud(work))
        self._hearing.add(task)
        task.add_done_callback(self._hearing.discard)

    async def _aloud(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Refusal:  # it has gone again
            return
        except (EnvironmentFault, InputError) as error:
            if self._observer is not None:
                self._observer.problem_met(str(error))

    async def _pass_on(self, machine_id: str, container: MachineContainer, event: ContainerEvent) -> None:
        await container.hear(event)
        is_gone = event.action == "destroy" and self._forget(machine_id, container)
        if is_gone and not container.is_ours and self._observer is not None:
            self._observer.machine_left(machine_id)

    def _forget(self, machine_id: str, container: MachineContainer) -> bool:
        """Whether it was known; else it was released, or another took its place."""
        is_known = self._containers.get(machine_id) is container
        if is_known:
            del self._containers[machine_id]
        return is_known

    def _lose_engine(self) -> None:
        self._do(self._regain_engine())

    async def _regain_engine(self) -> None:
        """The engine hung up: it restarts, and its containers with it, or only the connection broke."""
        assert self._engine is not None
        is_lost, loop = False, asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._regained_at + _REGAIN_SECONDS - loop.time()))
        while True:
            try:
                await self._engine.do(self._events.open)
                self._regained_at = loop.time()
                break
            except EnvironmentFault:
                if not is_lost:  # They ended with it, or nobody can tell.
                    for container in self._containers.values():
                        self._hear(ContainerEvent(container.id, "die", {"exitCode": "137"}))
                is_lost = True
            await asyncio.sleep(_REGAIN_SECONDS)
        for container in tuple(self._containers.values()):
            self._do(container.look())
        if self._project is not None:
            for described in await self._project.find_containers(self._engine):
                self._do(self._welcome(described["Id"]))

    # Machines that others made.

    async def _welcome(self, container_id: str) -> None:
        """A container of the project that was not there before."""
        assert self._engine is not None
        assert self._project is not None
        assert self._observer is not None
        async with self._meeting:
            if any(each.id == container_id for each in self._containers.values()):
                return
            described = await self._engine.do(self._engine.api.inspect_container, container_id)
            spec = self._project.read(described, [each.spec for each in self._containers.values()])
            before = self._containers.get(spec.id)
            if before is not None:
                await before.look()
                if before.runs:
                    problem = f"container {name_of(described)} is machine {spec.id} too, and is not routed to"
                    raise InputError(problem)
            else:
                self._observer.machine_joined(spec)
            await self._take(described, spec if before is None else before.spec)

    async def _take(self, described: Any, spec: MachineSpec) -> None:
        assert self._engine is not None
        assert self._observer is not None
        host, ours = self._engine.published_host, self._own_networks

        def find_place(described: Any) -> Placement:
            return locate(described, spec.all_ports, host, ours)

        container = MachineContainer(
            self._engine, described["Id"], spec, find_place(described), self._observer, find_place
        )
        self._containers[spec.id] = container
        try:
            await container.look()
        except Refusal as error:  # It has changed since it was read: the engine tells of that, too.
            if not error.is_out_of_date:
                raise

    async def _leave(self, container: MachineContainer) -> None:
        with suppress(EnvironmentFault, InputError):  # nobody is there to be told
            await (container.kill() if container.is_ours else container.restore())
        container.close()

    # Machines of ours.

    async def _make(self, spec: MachineSpec, observer: Observer, dns_address: str) -> MachineContainer:
        if spec.is_taken:
            raise EnvironmentFault(
                f"the container of machine {spec.name} of app {spec.app} is gone",
                hint=f"docker compose -f {self._project.path if self._project else 'FILE'} up -d",
            )
        originals = (
            each for each in self._containers.values() if each.spec.app == spec.app and not each.is_ours
        )
        original = min(originals, key=lambda each: each.spec.region != spec.region, default=None)
        if original is not None:
            return await self._factory.clone(spec, original, observer, self._own_networks)
        return await self._factory.make(spec, observer, dns_address)

    async def _find_edge_for(self, port: int, asker: str) -> Address | None:
        container_id = await self._factory.find_container(asker)
        regions = (each.spec.region for each in self._containers.values() if each.id == container_id)
        return self._find_edge(port, next(regions, ""))

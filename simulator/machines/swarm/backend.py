"""The backend of a Docker Swarm: the whole fleet is one stack, and each machine one of its tasks.

Swarm starts the machines, wherever it finds room, and only it knows how they are. So nothing here is told by the one
who does it: what is asked for, and what others do (`docker service scale`, a host that fails), is learned by looking
(`lookout.py`). Swarm can neither freeze a machine nor act on one of several that are one service; whoever asks for
that is told what can be done instead.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import NoReturn

from simulator.config.compose.labels import REGION
from simulator.config.model import Config, MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Observer, Placement
from simulator.machines.swarm import task_labels as label
from simulator.machines.swarm.deployment import Deployment, make_name
from simulator.machines.swarm.fleet_service import FleetService, service_of, services_of
from simulator.machines.swarm.manager import Manager, set_replicas
from simulator.machines.swarm.stackfile import render_stack
from simulator.machines.swarm.task_poller import FAST_POLL_SECONDS, TaskPoller, now_in_seconds
from simulator.machines.swarm.task_tracker import TrackedMachine

_REMOVAL_SECONDS = 60.0
_SUSPEND_ALTERNATIVE = "stop instead, or another backend: --backend process"


def as_tasks(config: Config) -> Config:
    """The same machines, which Swarm starts, and which are found when they run."""
    return replace(
        config,
        apps=tuple(
            replace(app, machines=tuple(_as_task(spec) for spec in app.machines)) for app in config.apps
        ),
    )


def _as_task(spec: MachineSpec) -> MachineSpec:
    return spec if spec.is_external else replace(spec, is_taken=True)


class SwarmBackend:
    """The machines of `config` as a stack: one of flysim's own, or `stack`, which others deployed."""

    freezes = False

    def __init__(self, config: Config, *, stack: str | None = None) -> None:
        self._config = config
        self._deployment = Deployment(stack or make_name(), is_own=stack is None)
        self._added: set[str] = set()
        """Machines that were not in the stack before."""
        self._manager: Manager | None = None
        self._poller: TaskPoller | None = None

    @property
    def stack(self) -> str:
        return self._deployment.name

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Deploys the stack, if it is our own; returns when every machine runs that is going to.

        Raises EnvironmentFault for a swarm that cannot be told to, MachineFault for a machine that it does not start.
        """
        services = services_of(self._config) if self._deployment.is_own else ()
        manager = self._manager = await Manager.connect()
        since = "" if self._deployment.is_own else now_in_seconds()
        poller = self._poller = TaskPoller(manager, self.stack, self._config, observer, since=since)
        poller.specs.update((spec.id, spec) for spec in specs if not spec.is_external)
        if self._deployment.is_own:
            await self._deploy(manager, services)
            pending_starts = [poller.track(each).wait_for_start(is_required=True) for each in poller.specs]
        else:
            await _check_stack(manager, self.stack)
            await poller.poll()
            pending = [each for each in poller.tracked.values() if each.is_pending]
            pending_starts = [each.wait_for_start(is_required=False) for each in pending]
        poller.open()
        async with poller.fast_polling():
            await asyncio.gather(*pending_starts)

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        """Also a machine that was not in the stack. `dns_address` is nothing that a container could reach."""
        manager, poller = self._parts()
        poller.specs[spec.id] = spec
        tracked = poller.track(spec.id)
        if tracked.shares_service:
            self._reject_shared(spec, "started")
        tracked.ignore_current_task()
        starting = tracked.wait_for_start(is_required=True)
        async with poller.fast_polling():
            service_id = tracked.service_id or await manager.find_service(self.stack, spec.id)
            if not await _scale(manager, service_id, 1, force=True):
                await self._add(manager, spec)
            placement = await starting
        assert placement is not None
        return placement

    async def stop(self, machine_id: str) -> None:
        tracked = self._find(machine_id)
        if tracked is None:
            return
        manager, poller = self._parts()
        if tracked.shares_service:
            self._reject_shared(poller.specs[machine_id], "stopped")
        async with poller.fast_polling():
            await _scale(manager, tracked.service_id, 0)
            await tracked.exited.wait()

    async def kill(self, machine_id: str) -> None:
        """At once where this engine is the machine's own; else Swarm is asked to stop it, which takes its time."""
        tracked = self._find(machine_id)
        if tracked is None or tracked.latest is None:
            return
        manager, poller = self._parts()
        async with poller.fast_polling():
            if tracked.latest.node_id == manager.node_id:
                await manager.kill(tracked.latest.container_id)
                await tracked.exited.wait()
                if not tracked.shares_service:  # Swarm starts it again when it next looks at the service.
                    await _scale(manager, tracked.service_id, 0)
            elif tracked.shares_service:
                self._reject_shared(poller.specs[machine_id], "killed")
            else:
                await _scale(manager, tracked.service_id, 0)
            await tracked.exited.wait()

    async def suspend(self, machine_id: str) -> None:
        if self._find(machine_id) is not None:
            spec = self._parts()[1].specs[machine_id]
            raise InputError(
                f"machine {spec.name} cannot be suspended: Swarm has no way to freeze a task",
                expected=_SUSPEND_ALTERNATIVE,
            )

    async def resume(self, machine_id: str) -> None:
        """None is ever suspended."""

    async def isolate(self, machine_id: str) -> bool:
        """A task cannot leave its networks."""
        return False

    async def rejoin(self, machine_id: str) -> None: ...

    async def release(self, machine_id: str) -> None:
        """One that is a service of ours is removed from the stack; another's is kept, at rest, for its owner."""
        tracked = self._poller.tracked.get(machine_id) if self._poller else None
        if tracked is None:
            return
        manager, poller = self._parts()
        is_ours = self._deployment.is_own or machine_id in self._added
        if is_ours and tracked.service_id and not tracked.shares_service:
            await manager.remove_service(tracked.service_id)
        poller.tracked.pop(machine_id, None)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        """A container keeps to itself where it listens."""
        return None

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        return None

    async def close(self) -> None:
        """Removes our own stack, or what we added to another's, and waits until all of it is gone."""
        manager, self._manager = self._manager, None
        poller, self._poller = self._poller, None
        if manager is None:
            return
        try:
            if self._deployment.is_started and poller is not None:
                poller.is_closing = True
                await self._remove_deployed(manager, poller)
            await self._deployment.finish()
        finally:
            if poller is not None:
                await poller.close()
            await manager.close()

    async def _add(self, manager: Manager, spec: MachineSpec) -> None:
        """In another's stack under a name that no service of its has: `docker stack deploy` would change that."""
        service = service_of((spec,))
        self._added.add(spec.id)
        own = self._deployment.is_own
        await self._deploy(manager, (service if own else replace(service, name=f"flysim-{spec.id}"),))

    async def _deploy(self, manager: Manager, services: tuple[FleetService, ...]) -> None:
        if manager.is_single_node:  # Otherwise the image has to come from where every node can get it.
            await manager.require_images(service.spec for service in services)
        placed = bool(await manager.regions())
        text = render_stack(services, placed=placed, labels=self._deployment.labels)
        await self._deployment.deploy(text, from_registry=not manager.is_single_node)

    async def _remove_deployed(self, manager: Manager, poller: TaskPoller) -> None:
        patience = max((spec.kill_timeout_seconds for spec in poller.specs.values()), default=0.0)
        deadline = time.monotonic() + _REMOVAL_SECONDS + patience
        if self._deployment.is_own:
            await self._deployment.remove()
        while left := await self._find_left(manager, poller):
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"Swarm has not removed all that flysim made of the stack {self.stack}: {left} left",
                    hint=f"see what is left: docker stack ps {self.stack}",
                )
            await poller.poll()
            await asyncio.sleep(FAST_POLL_SECONDS)

    async def _find_left(self, manager: Manager, poller: TaskPoller) -> str:
        """What is still to go, in words."""
        if not self._deployment.is_own:
            await manager.remove_all(self._deployment.label_selector)
        ours = poller.tracked.keys() if self._deployment.is_own else poller.tracked.keys() & self._added
        words = f"{len(ours)} machine{'s' if len(ours) > 1 else ''}" if ours else ""
        return await manager.find_remaining(self._deployment.label_selector) or words

    def _find(self, machine_id: str) -> TrackedMachine | None:
        """One that runs."""
        tracked = self._poller.tracked.get(machine_id) if self._poller else None
        return tracked if tracked is not None and tracked.is_running else None

    def _parts(self) -> tuple[Manager, TaskPoller]:
        assert self._manager is not None
        assert self._poller is not None
        return self._manager, self._poller

    def _reject_shared(self, spec: MachineSpec, action: str) -> NoReturn:
        raise InputError(
            f"machine {spec.name} cannot be {action} by itself: it is one of several that are one service of Swarm",
            expected="a row of its own in flysim.toml, without count; or docker service scale, for as many as "
            "there shall be",
        )


async def _scale(manager: Manager, service_id: str, replicas: int, *, force: bool = False) -> bool:
    """Whether there is such a service."""
    return bool(service_id) and await manager.update_service(service_id, set_replicas(replicas, force=force))


async def _check_stack(manager: Manager, stack: str) -> None:
    services = await manager.services(stack)
    if not services:
        raise EnvironmentFault(
            f"there is no stack {stack} in this swarm",
            hint=f"flysim stack | docker stack deploy --compose-file - {stack}",
        )
    specs = [service["Spec"] for service in services.values()]
    if not any(REGION in spec["Labels"] for spec in specs):
        names = ", ".join(sorted(spec["Name"] for spec in specs))
        raise EnvironmentFault(
            f"the stack {stack} has no machines: none of its services has the label {REGION} ({names})",
            hint="name a stack that was made by flysim stack, or give its services and containers that label",
        )
    owner = next((spec["Labels"][label.RUN] for spec in specs if label.RUN in spec["Labels"]), None)
    if owner:
        raise EnvironmentFault(
            f"the stack {stack} belongs to another flysim ({owner}), which removes it when it ends",
            hint="flysim stack | docker stack deploy --compose-file - ANOTHER-NAME, and --backend swarm:ANOTHER-NAME",
        )

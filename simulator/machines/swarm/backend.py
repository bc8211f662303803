"""Docker Swarm backend: the fleet is one stack, and each machine is one of its tasks.

Swarm starts the machines on any node and is the only source of their state, so every change is found by polling
(`task_poller.py`): the results of flysim's own requests as well as external changes (`docker service scale`, a node
that fails). Swarm cannot pause a task, and it cannot stop one task of a service with several; both are rejected with
an error that names an alternative.
"""

from __future__ import annotations

import asyncio
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
from simulator.retry import retry_on

_REMOVAL_SECONDS = 60.0
_SUSPEND_ALTERNATIVE = "stop instead of suspend, or another backend: --backend process"


class _NotRemoved(EnvironmentFault):
    """Swarm is still removing tasks, networks or containers."""


def as_tasks(config: Config) -> Config:
    """The same config with its machines marked as started by Swarm and found while they run."""
    return replace(
        config,
        apps=tuple(
            replace(app, machines=tuple(_as_task(spec) for spec in app.machines)) for app in config.apps
        ),
    )


def _as_task(spec: MachineSpec) -> MachineSpec:
    return spec if spec.is_external else replace(spec, is_adopted=True)


class SwarmBackend:
    """The machines of `config` as a stack: deployed by flysim, or `stack`, which exists already."""

    can_suspend = False

    def __init__(self, config: Config, *, stack: str | None = None) -> None:
        self._config = config
        self._deployment = Deployment(stack or make_name(), is_own=stack is None)
        self._added: set[str] = set()
        """Ids of machines that were added to the stack after its deployment."""
        self._manager: Manager | None = None
        self._poller: TaskPoller | None = None

    @property
    def stack(self) -> str:
        return self._deployment.name

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        """Deploy flysim's own stack, and return when every machine runs. In an existing stack, a machine may fail.

        Raises EnvironmentFault if the deployment fails, MachineFault for a machine that Swarm does not start.
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
        """Also adds a machine that the stack does not have. `dns_address` is unused: tasks cannot reach it."""
        manager, poller = self._parts()
        poller.specs[spec.id] = spec
        tracked = poller.track(spec.id)
        if tracked.shares_service:
            self._reject_shared(spec, "started")
        tracked.ignore_current_task()
        start = tracked.wait_for_start(is_required=True)
        async with poller.fast_polling():
            service_id = tracked.service_id or await manager.find_service(self.stack, spec.id)
            if not await _scale(manager, service_id, 1, force=True):
                await self._add(manager, spec)
            placement = await start
        assert placement is not None
        return placement

    async def stop(self, machine_id: str) -> None:
        tracked = self._find_running(machine_id)
        if tracked is None:
            return
        manager, poller = self._parts()
        if tracked.shares_service:
            self._reject_shared(poller.specs[machine_id], "stopped")
        async with poller.fast_polling():
            await _scale(manager, tracked.service_id, 0)
            await tracked.exited.wait()

    async def kill(self, machine_id: str) -> None:
        """Immediate if the task runs on this engine; otherwise Swarm stops it with the kill signal and timeout."""
        tracked = self._find_running(machine_id)
        if tracked is None or tracked.latest is None:
            return
        manager, poller = self._parts()
        async with poller.fast_polling():
            if tracked.latest.node_id == manager.node_id:
                await manager.kill(tracked.latest.container_id)
                await tracked.exited.wait()
                if (
                    not tracked.shares_service
                ):  # Otherwise Swarm starts it again when it next updates the service.
                    await _scale(manager, tracked.service_id, 0)
            elif tracked.shares_service:
                self._reject_shared(poller.specs[machine_id], "killed")
            else:
                await _scale(manager, tracked.service_id, 0)
            await tracked.exited.wait()

    async def suspend(self, machine_id: str) -> None:
        if self._find_running(machine_id) is not None:
            spec = self._parts()[1].specs[machine_id]
            raise InputError(
                f"machine {spec.name} cannot be suspended: Swarm cannot pause a task",
                expected=_SUSPEND_ALTERNATIVE,
            )

    async def resume(self, machine_id: str) -> None:
        """Does nothing: no machine is ever suspended."""

    async def isolate(self, machine_id: str) -> bool:
        """Always False: Swarm cannot disconnect a task from its networks."""
        return False

    async def rejoin(self, machine_id: str) -> None: ...

    async def release(self, machine_id: str) -> None:
        """Remove the machine's service if flysim created it; a service of an existing stack stays, scaled to 0."""
        tracked = self._poller.tracked.get(machine_id) if self._poller else None
        if tracked is None:
            return
        manager, poller = self._parts()
        is_ours = self._deployment.is_own or machine_id in self._added
        if is_ours and tracked.service_id and not tracked.shares_service:
            await manager.remove_service(tracked.service_id)
        poller.tracked.pop(machine_id, None)

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        """Always None: Swarm does not show the sockets of a task."""
        return None

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        return None

    async def close(self) -> None:
        """Remove flysim's own stack, or its additions to an existing one, and wait until the removal is complete."""
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
        """Add a service. In an existing stack its name is unique: `docker stack deploy` updates equal names."""
        service = service_of((spec,))
        self._added.add(spec.id)
        own = self._deployment.is_own
        await self._deploy(manager, (service if own else replace(service, name=f"flysim-{spec.id}"),))

    async def _deploy(self, manager: Manager, services: tuple[FleetService, ...]) -> None:
        if manager.is_single_node:  # With several nodes, each pulls the image from a registry.
            await manager.require_images(service.spec for service in services)
        placed = bool(await manager.regions())
        stack_file = render_stack(services, placed=placed, labels=self._deployment.labels)
        await self._deployment.deploy(stack_file, from_registry=not manager.is_single_node)

    async def _remove_deployed(self, manager: Manager, poller: TaskPoller) -> None:
        kill_timeout = max((spec.kill_timeout_seconds for spec in poller.specs.values()), default=0.0)
        if self._deployment.is_own:
            await self._deployment.remove()
        wait = retry_on(
            _NotRemoved,
            interval_seconds=FAST_POLL_SECONDS,
            timeout_seconds=_REMOVAL_SECONDS + kill_timeout,
        )
        await wait(self._check_removed, manager, poller)

    async def _check_removed(self, manager: Manager, poller: TaskPoller) -> None:
        """Raises _NotRemoved."""
        if remaining := await self._find_remaining(manager, poller):
            await poller.poll()
            raise _NotRemoved(
                f"Swarm has not removed everything that flysim deployed to the stack {self.stack}: {remaining} left",
                hint=f"docker stack ps {self.stack} lists what remains",
            )

    async def _find_remaining(self, manager: Manager, poller: TaskPoller) -> str:
        """What is not removed yet, for example "2 tasks"; "" if nothing is left."""
        if not self._deployment.is_own:
            await manager.remove_all(self._deployment.label_selector)
        ours = poller.tracked.keys() if self._deployment.is_own else poller.tracked.keys() & self._added
        machines = f"{len(ours)} machine{'s' if len(ours) > 1 else ''}" if ours else ""
        return await manager.find_remaining(self._deployment.label_selector) or machines

    def _find_running(self, machine_id: str) -> TrackedMachine | None:
        tracked = self._poller.tracked.get(machine_id) if self._poller else None
        return tracked if tracked is not None and tracked.is_running else None

    def _parts(self) -> tuple[Manager, TaskPoller]:
        assert self._manager is not None
        assert self._poller is not None
        return self._manager, self._poller

    def _reject_shared(self, spec: MachineSpec, action: str) -> NoReturn:
        raise InputError(
            f"machine {spec.name} cannot be {action} alone: it shares a Swarm service with other machines",
            expected="a [[machines]] entry without count for this machine; or change the number of machines with "
            "docker service scale",
        )


async def _scale(manager: Manager, service_id: str, replicas: int, *, force: bool = False) -> bool:
    """Return False if the service does not exist."""
    return bool(service_id) and await manager.update_service(service_id, set_replicas(replicas, force=force))


async def _check_stack(manager: Manager, stack: str) -> None:
    services = await manager.services(stack)
    if not services:
        raise EnvironmentFault(
            f"stack {stack} not found in this swarm",
            hint=f"flysim stack | docker stack deploy --compose-file - {stack}",
        )
    specs = [service["Spec"] for service in services.values()]
    if not any(REGION in spec["Labels"] for spec in specs):
        names = ", ".join(sorted(spec["Name"] for spec in specs))
        raise EnvironmentFault(
            f"stack {stack} has no machines: none of its services has the label {REGION} ({names})",
            hint="deploy a stack with flysim stack, or set that label on the services and their containers",
        )
    owner = next((spec["Labels"][label.RUN] for spec in specs if label.RUN in spec["Labels"]), None)
    if owner:
        raise EnvironmentFault(
            f"stack {stack} belongs to another flysim ({owner}), which removes it when it exits",
            hint="deploy another stack: flysim stack | docker stack deploy --compose-file - NAME, "
            "then use --backend swarm:NAME",
        )

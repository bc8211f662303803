"""DNS lookup backend: finds machines that other tools run in the same private network, by their names.

It has no access to the engine that runs them, so it knows only whether a machine runs, and its address. Docker's name
server resolves the name of a container while the container runs, so a name that resolves means that its machine runs.
The name server may lose a name, so a machine that still listens on its last address counts as running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import dns.asyncresolver
import dns.exception
import dns.resolver

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault
from simulator.machines.backend import Exit, Observer, Placement

_INTERVAL_SECONDS = 0.2
_RESOLVE_SECONDS = 1.0
_CONNECT_SECONDS = 0.3
_DOCKER_NAME_SERVER = "127.0.0.11"
"""The name server of every container in a user-defined network."""
GONE = Exit(0, "its name no longer resolves")

OnName = Callable[[str], None]
"""Receives each name once."""


class LookupBackend:
    """Watches machines by their `lookup` names; cannot start, stop or change them."""

    can_suspend = False

    def __init__(
        self,
        unassigned_names: Iterable[str] = (),
        on_unassigned: OnName = lambda name: None,
        on_forgotten: OnName = lambda name: None,
        *,
        name_server: tuple[str, int] | None = None,
    ) -> None:
        """`unassigned_names` belong to no machine; `on_unassigned` receives those that resolve all the same.

        `on_forgotten` receives a name that no longer resolves although its machine still listens. `name_server` is
        the address of the name server, by default that of this computer.
        """
        self._unassigned_names = set(unassigned_names)
        self._on_unassigned = on_unassigned
        self._on_forgotten = on_forgotten
        self._forgotten: set[str] = set()
        self._resolver = _make_resolver(name_server)
        self._is_outside_docker = (
            name_server is None and _DOCKER_NAME_SERVER not in self._resolver.nameservers
        )
        self._placements: dict[str, Placement] = {}
        self._watch_task: asyncio.Task[None] | None = None

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await self._update_all(specs, observer)
        if not self._placements and self._is_outside_docker:
            raise EnvironmentFault(
                "there is no Docker engine, and no machine's name resolves",
                hint="start Docker, or run flysim inside the network of the machines: see docs/docker.md",
            )
        self._watch_task = asyncio.create_task(self._watch_names(specs, observer), name="lookups")

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        raise EnvironmentFault(
            f"flysim cannot start machine {spec.name} of app {spec.app}: it runs outside flysim"
        )

    async def stop(self, machine_id: str) -> None:
        """Does nothing, like the methods below: the supervisor refuses these actions for such machines."""

    async def kill(self, machine_id: str) -> None: ...

    async def suspend(self, machine_id: str) -> None: ...

    async def resume(self, machine_id: str) -> None: ...

    async def isolate(self, machine_id: str) -> bool:
        return False

    async def rejoin(self, machine_id: str) -> None: ...

    async def release(self, machine_id: str) -> None: ...

    async def listening_addresses(self, machine_id: str) -> tuple[str, ...] | None:
        return None

    async def find_port_conflict(self, machine_id: str, port: int) -> str | None:
        return None

    async def close(self) -> None:
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.gather(self._watch_task, return_exceptions=True)

    async def _watch_names(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        while True:  # Not a retry: periodic work until the task is canceled. dnspython retries each query.
            await asyncio.sleep(_INTERVAL_SECONDS)
            await self._update_all(specs, observer)

    async def _update_all(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        updates = [self._update(spec, observer) for spec in specs if spec.lookup]
        await asyncio.gather(*updates, *map(self._check_unassigned, tuple(self._unassigned_names)))

    async def _update(self, spec: MachineSpec, observer: Observer) -> None:
        # A name server that does not respond says nothing about the machine.
        with suppress(_LookupFailedError):
            before, now = self._placements.get(spec.id), await self._resolve(spec)
            if before is not None and now is None and await _is_listening(before):
                self._report_forgotten(spec)
                return
            self._forgotten.discard(spec.id)
            if now == before:
                return
            if before is not None:
                del self._placements[spec.id]
                observer.machine_exited(spec.id, GONE)
            if now is not None:
                self._placements[spec.id] = now
                observer.machine_started(spec.id, now)

    def _report_forgotten(self, spec: MachineSpec) -> None:
        if spec.id not in self._forgotten:
            self._forgotten.add(spec.id)
            self._on_forgotten(spec.name)

    async def _check_unassigned(self, name: str) -> None:
        with suppress(_LookupFailedError):
            if await self._query(name, "A") or await self._query(name, "AAAA"):
                self._unassigned_names.discard(name)
                self._on_unassigned(name)

    async def _resolve(self, spec: MachineSpec) -> Placement | None:
        """Fly's proxy connects over IPv4, other machines over IPv6 (F-8.17); with only one of them, both use that."""
        name = spec.lookup or ""
        by_ipv4, by_ipv6 = await asyncio.gather(self._query(name, "A"), self._query(name, "AAAA"))
        if not by_ipv4 and not by_ipv6:
            return None
        host = (by_ipv4 or by_ipv6)[0]
        private_ip = by_ipv6[0] if by_ipv6 else f"::ffff:{host}"
        return Placement(host, spec.internal_port, private_ip)

    async def _query(self, name: str, kind: str) -> list[str]:
        """Raises _LookupFailedError."""
        try:
            answer = await self._resolver.resolve(f"{name}.", kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise _LookupFailedError from error
        return sorted(record.address for record in answer)


async def _is_listening(placement: Placement) -> bool:
    """Whether a machine still listens: an engine that leaves a swarm forgets names of running containers."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(placement.host, placement.port)
            writer.close()
            return True
    return False


class _LookupFailedError(Exception):
    """The name server did not respond, or responded with an error."""


def _make_resolver(name_server: tuple[str, int] | None) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=name_server is None)
    if name_server is not None:
        resolver.nameservers, resolver.port = [name_server[0]], name_server[1]
    resolver.lifetime = _RESOLVE_SECONDS
    return resolver

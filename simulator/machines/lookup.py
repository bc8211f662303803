"""The backend for machines that others run in the same private network: found by name, as far as DNS tells.

It has no access to whatever runs them, so it can tell that a machine is there and where, and nothing else. Docker's
own name server knows a container for as long as it runs: its name leading somewhere means that the machine runs. It may
forget one, so a machine that still listens where it was is not taken for gone.
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

_PAUSE_SECONDS = 0.2
_PATIENCE_SECONDS = 1.0
_GREETING_SECONDS = 0.3
_DOCKERS_OWN = "127.0.0.11"
"""The name server of every container that is in a network of its own."""
GONE = Exit(0, "its name leads nowhere any more")

Tell = Callable[[str], None]
"""Is told of a name, once each."""


class LookupBackend:
    """Watches machines by their `lookup` names."""

    freezes = False

    def __init__(
        self,
        unnamed: Iterable[str] = (),
        tell: Tell = lambda name: None,
        tell_forgotten: Tell = lambda name: None,
        *,
        name_server: tuple[str, int] | None = None,
    ) -> None:
        """`unnamed` are names that no machine has. `name_server`: another than this computer's own.

        `tell` is told of those that lead somewhere nevertheless, `tell_forgotten` of one that leads nowhere any more
        although its machine is there.
        """
        self._unnamed = set(unnamed)
        self._tell = tell
        self._tell_forgotten = tell_forgotten
        self._forgotten: set[str] = set()
        self._resolver = _make_resolver(name_server)
        self._is_elsewhere = name_server is None and _DOCKERS_OWN not in self._resolver.nameservers
        self._placements: dict[str, Placement] = {}
        self._watching: asyncio.Task[None] | None = None

    async def watch(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        await self._look_at_all(specs, observer)
        if not self._placements and self._is_elsewhere:
            raise EnvironmentFault(
                "there is no Docker engine here, and none of the machines is found by its name",
                hint="start Docker, or let flysim run inside the network of the machines: see docs/docker.md",
            )
        self._watching = asyncio.create_task(self._go_on_looking(specs, observer), name="lookups")

    async def launch(self, spec: MachineSpec, observer: Observer, *, dns_address: str) -> Placement:
        raise EnvironmentFault(f"machine {spec.name} of app {spec.app} is not flysim's to start")

    async def stop(self, machine_id: str) -> None:
        """Nor is it to stop, and so on: the room asks for none of this."""

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
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _go_on_looking(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        while True:
            await asyncio.sleep(_PAUSE_SECONDS)
            await self._look_at_all(specs, observer)

    async def _look_at_all(self, specs: tuple[MachineSpec, ...], observer: Observer) -> None:
        looks = [self._look_at(spec, observer) for spec in specs if spec.lookup]
        await asyncio.gather(*looks, *map(self._look_out_for, tuple(self._unnamed)))

    async def _look_at(self, spec: MachineSpec, observer: Observer) -> None:
        with suppress(_NoAnswerError):  # A name server that is busy is no news of the machine.
            before, now = self._placements.get(spec.id), await self._find(spec)
            if before is not None and now is None and await _is_there(before):
                self._remark_forgotten(spec)
                return
            self._forgotten.discard(spec.id)
            if now == before:
                return
            if before is not None:
                del self._placements[spec.id]
                observer.machine_exited(spec.id, GONE)
            if now is not None:
                self._placements[spec.id] = now
                observer.machine_began(spec.id, now)

    def _remark_forgotten(self, spec: MachineSpec) -> None:
        if spec.id not in self._forgotten:
            self._forgotten.add(spec.id)
            self._tell_forgotten(spec.name)

    async def _look_out_for(self, name: str) -> None:
        with suppress(_NoAnswerError):
            if await self._addresses(name, "A") or await self._addresses(name, "AAAA"):
                self._unnamed.discard(name)
                self._tell(name)

    async def _find(self, spec: MachineSpec) -> Placement | None:
        """Fly's proxy comes by IPv4, other machines by IPv6 (F-8.17); where there is only one, both come by that."""
        name = spec.lookup or ""
        by_ipv4, by_ipv6 = await asyncio.gather(self._addresses(name, "A"), self._addresses(name, "AAAA"))
        if not by_ipv4 and not by_ipv6:
            return None
        host = (by_ipv4 or by_ipv6)[0]
        private_ip = by_ipv6[0] if by_ipv6 else f"::ffff:{host}"
        return Placement(host, spec.internal_port, private_ip)

    async def _addresses(self, name: str, kind: str) -> list[str]:
        """Raises _NoAnswerError."""
        try:
            answer = await self._resolver.resolve(f"{name}.", kind, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise _NoAnswerError from error
        return sorted(record.address for record in answer)


async def _is_there(placement: Placement) -> bool:
    """Whether something listens where a machine was: an engine that leaves a swarm forgets names of what runs."""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(_GREETING_SECONDS):
            _, writer = await asyncio.open_connection(placement.host, placement.port)
            writer.close()
            return True
    return False


class _NoAnswerError(Exception):
    """Whether there is such a name could not be found out."""


def _make_resolver(name_server: tuple[str, int] | None) -> dns.asyncresolver.Resolver:
    resolver = dns.asyncresolver.Resolver(configure=name_server is None)
    if name_server is not None:
        resolver.nameservers, resolver.port = [name_server[0]], name_server[1]
    resolver.lifetime = _PATIENCE_SECONDS
    return resolver

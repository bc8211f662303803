"""The simulator as a whole: builds its parts, connects them, and owns their lifetimes."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from simulator.autoscaler import Autoscaler
from simulator.cancellation import cancel_and_wait, shielded
from simulator.clock import Clock
from simulator.config.model import Config, MachineSpec
from simulator.crash_report import logged_bugs_reported
from simulator.diagnosis import Finding, diagnose
from simulator.errors import InputError
from simulator.events import Bus, Event, FleetChanged
from simulator.faults.active import Faults
from simulator.file_limit import raise_file_limit
from simulator.journal import Journal
from simulator.machines import PROCESS, Backend, MachineSupervisor, adapt_config, make_backend
from simulator.machines.port import LOOPBACK, free_port, hold_port
from simulator.network_conditions import NetworkConditions
from simulator.network_position import NetworkPosition
from simulator.routing import Fleet, Machine, Router, Trace
from simulator.routing.model import join_address
from simulator.routing.regions import distance_km
from simulator.routing.service import HTTP_PORT, HTTPS_PORT

if TYPE_CHECKING:
    from simulator.dashboard import ControlServer
    from simulator.faults.base import Fault
    from simulator.proxy import ProxyCore, ProxyServer


class Simulator:
    """A fleet behind Fly's proxy, which runs inside `async with`.

    `realtime`: simulated waits take real time. `free_ports`: use free ports instead of those of the config.
    `backend`: the backend of the machines, or its name. `allow_unhealthy`: a machine that runs outside flysim may be
    unhealthy at the start. `make_proxy`: a class to use instead of `ProxyServer`. Entering raises SimulatorError if a
    part cannot start; nothing is left running then.

    >>> async def serve_one_request() -> int:
    ...     async with Simulator(load_config("flysim.toml"), free_ports=True) as fly:
    ...         async with httpx.AsyncClient(base_url=fly.edges["ams"]) as client:
    ...             return (await client.get("/")).status_code
    >>> asyncio.run(serve_one_request())
    200
    """

    def __init__(
        self,
        config: Config,
        *,
        realtime: bool = True,
        seed: int = 0,
        free_ports: bool = False,
        backend: Backend | str = PROCESS,
        allow_unhealthy: bool = False,
        network_position: NetworkPosition | None = None,
        make_proxy: Callable[..., Any] | None = None,
    ) -> None:
        self.config = config = adapt_config(config, backend) if isinstance(backend, str) else config
        self.bus = Bus()
        self.clock = Clock(realtime=realtime)
        self.journal = Journal(self.bus)
        self._seed = seed
        self._network_position = network_position or NetworkPosition()
        self._free_ports = free_ports
        self._make_proxy = make_proxy
        # Chosen here, because the environment of the machines contains it before the name server listens.
        self.dns_port = self._network_position.dns_port or free_port()
        self.supervisor = MachineSupervisor(
            [app.app for app in config.apps],
            config.machines,
            make_backend(backend, config, self._find_edge) if isinstance(backend, str) else backend,
            self.bus,
            self.clock,
            dns_address=self.dns_address,
            seed=seed,
            allow_unhealthy=allow_unhealthy,
        )
        self.network = NetworkConditions()
        self.faults = Faults(self)
        self._random = Random(seed)
        self._autoscaler = Autoscaler(
            self.supervisor, lambda: self.router.load, self.bus, self.clock, self._go_away
        )
        self.router = Router(
            self.supervisor.fleet,
            config.routing,
            self._random.randrange,
            request_start=self._autoscaler.request_start,
            new_id=lambda edge, now: self._core.new_request_id(edge, now),
        )
        self._parts = AsyncExitStack()
        self._core: ProxyCore
        self._proxy: ProxyServer
        self._control: ControlServer
        self._control_port = 0

    async def __aenter__(self) -> Self:
        raise_file_limit()
        self.check_ports()
        async with AsyncExitStack() as parts:
            parts.callback(self.bus.subscribe(self._follow_fleet))
            if self._uses_name_server():
                await self._start_proxy(parts)
                opening = self._start_machines(parts)
            else:  # mitmproxy is slow to import: the machines boot during the import.
                opening = self._start_machines(parts)
                await self._start_proxy(parts)
            await self._start_control(parts)
            await opening
            self._autoscaler.open()
            parts.push_async_callback(self._autoscaler.close)
            parts.push_async_callback(self.faults.clear)
            self._parts = parts.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._parts.aclose()

    # Addresses and machines.

    @property
    def fleet(self) -> Fleet:
        """All current machines."""
        return self.router.fleet

    @property
    def edges(self) -> Mapping[str, str]:
        """Region of an edge -> its base URL."""
        return {region: self._network_position.url(*where) for region, where in self._proxy.addresses.items()}

    @property
    def extra_ports(self) -> Mapping[str, Mapping[int, str]]:
        """Region of an edge -> public port other than 80 and 443 -> its base URL."""
        found: dict[str, dict[int, str]] = {}
        for (region, public_port), where in self._proxy.all_addresses.items():
            if public_port != HTTP_PORT:
                found.setdefault(region, {})[public_port] = self._network_position.url(*where)
        return found

    @property
    def control_url(self) -> str:
        return self._network_position.url(LOOPBACK, self._control_port)

    @property
    def page_url(self) -> str:
        """The URL of the control API's page, with the token if one is required."""
        return self._network_position.page_url(self._control_port)

    @property
    def dns_address(self) -> str:
        """The address of the name server for `.internal` names."""
        return join_address(self._network_position.own_host, self.dns_port)

    def ready(self) -> dict[str, Any]:
        """The content of the ready file."""
        return {
            "edges": dict(self.edges),
            "control": self.control_url,
            "dashboard": f"{self.control_url}/",
            "dns": self.dns_address,
            "machines": [
                {
                    "id": machine.id,
                    "name": machine.name,
                    "app": machine.app,
                    "region": machine.region,
                    "state": machine.state.value,
                    "address": machine.address,
                }
                for machine in self.fleet.machines
            ],
        }

    def find_machine(self, key: str) -> Machine:
        """Find a machine by id, name or app/name. Unless exactly one matches, raises InputError with the candidates."""
        machines = self.fleet.machines
        found = [each for each in machines if key in (each.id, each.name, f"{each.app}/{each.name}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{each.app}/{each.name} ({each.id})" for each in found or machines)
        problem = f"{key!r} names several machines" if found else f"there is no machine {key!r}"
        raise InputError(problem, expected=f"one of {known}")

    def spec_of(self, machine_id: str) -> MachineSpec | None:
        """The spec of a machine; None if it is destroyed."""
        return self.supervisor.spec(machine_id) if self.fleet.find(machine_id) else None

    def health_problems(self) -> dict[str, str]:
        return self.supervisor.health_problems()

    def findings(self, trace: Trace | None = None) -> tuple[Finding, ...]:
        """The findings of the diagnosis for one exchange, or for all in the journal."""
        traces = self.journal.traces() if trace is None else (trace,)
        return tuple(finding for each in traces for finding in diagnose(each, self.fleet))

    # Actions.

    async def start_machine(self, machine_id: str) -> None:
        await self.supervisor.start(machine_id)

    async def stop_machine(self, machine_id: str) -> None:
        await self._autoscaler.close_websockets(machine_id)
        await self.supervisor.stop(machine_id)

    async def kill_machine(self, machine_id: str) -> None:
        await self.supervisor.kill(machine_id)

    async def suspend_machine(self, machine_id: str) -> None:
        await self._autoscaler.close_websockets(machine_id)
        await self.supervisor.suspend(machine_id)

    async def destroy_machine(self, machine_id: str, *, force: bool = True) -> None:
        await self.supervisor.destroy(machine_id, force=force)

    async def cordon(self, machine_id: str) -> None:
        await self.supervisor.cordon(machine_id)

    async def uncordon(self, machine_id: str) -> None:
        await self.supervisor.uncordon(machine_id)

    async def clone_machine(self, machine_id: str, *, region: str | None = None) -> Machine:
        return await self.supervisor.clone(machine_id, region=region)

    async def inject(self, fault: Fault) -> None:
        """Inject a fault; it lasts until `heal` or `reset`. Raises SimulatorError if it cannot be injected."""
        if self._make_proxy is not None:
            raise InputError(
                "faults cannot be injected inside stock mitmproxy", expected="flysim up, run or exec"
            )
        await self.faults.inject(fault)

    async def heal(self, which: Fault | str = "all") -> None:
        """End one fault, all faults of a kind or of a machine, or all. Raises WrongStateError if none matches."""
        await self.faults.heal(which)

    async def reset(self) -> None:
        """Restore the state after the start: no faults, only the config's machines, all healthy, an empty journal."""
        await self.faults.clear()
        await self.supervisor.reset()
        self.journal.clear()
        self.clock.reset()
        self.router.reset()
        self._autoscaler.reset()
        self._random.seed(self._seed)

    # Parts.

    async def _go_away(self, machine_id: str) -> None:
        await self._proxy.go_away(machine_id)

    def _follow_fleet(self, event: Event) -> None:
        if isinstance(event, FleetChanged):
            self.router.fleet = event.fleet

    def _find_edge(self, public_port: int, region: str) -> tuple[str, int] | None:
        """The address of the edge nearest to a region; 80 and 443 are the same port here."""
        addresses = self._proxy.all_addresses
        port = HTTP_PORT if public_port == HTTPS_PORT else public_port
        edges = [edge for edge, its_port in addresses if its_port == port]
        if not edges:
            return None
        nearest = min(edges, key=lambda edge: distance_km(region, edge) if region else 0.0)
        host, listening = addresses[nearest, port]
        return LOOPBACK if host == "0.0.0.0" else host, listening

    def _uses_name_server(self) -> bool:
        """Whether a command or env contains `{dns}`: then the name server must listen before the machines start."""
        return any(
            "{dns}" in text
            for machine in self.config.machines
            for text in (*machine.command, *machine.env.values())
        )

    def _start_machines(self, parts: AsyncExitStack) -> asyncio.Task[None]:
        parts.push_async_callback(self.supervisor.close)
        opening = asyncio.create_task(self.supervisor.open())
        parts.push_async_callback(cancel_and_wait, opening)
        return opening

    async def _start_proxy(self, parts: AsyncExitStack) -> None:
        with ExitStack() as hold:
            with suppress(OSError):  # The name server reports that its port is in use.
                hold_port(self.dns_port, hold)
            await asyncio.to_thread(importlib.import_module, "simulator.proxy")
        from simulator.proxy import ProxyCore, ProxyServer

        edges = {region: 0 if self._free_ports else port for region, port in self.config.edges.items()}
        extra = {key: 0 if self._free_ports else port for key, port in self.config.extra_ports.items()}
        self._core = ProxyCore(self.router, self.clock, self.bus, self._random, self.network)
        own_loggers = () if self._make_proxy else ("mitmproxy",)
        parts.enter_context(logged_bugs_reported(self._core.bugs, "asyncio", "uvicorn.error", *own_loggers))
        make_proxy = self._make_proxy or ProxyServer
        self._proxy = make_proxy(
            self._core,
            edges,
            host=self._network_position.hosts,
            dns_port=self.dns_port,
            extra_ports=extra,
            private_ip=self._network_position.private_ip,
        )
        parts.push_async_callback(self._proxy.stop)
        await shielded(self._proxy.start())

    async def _start_control(self, parts: AsyncExitStack) -> None:
        await asyncio.to_thread(importlib.import_module, "simulator.dashboard")
        from simulator.dashboard import ControlServer, make_app

        port = 0 if self._free_ports else self.config.control_port
        position = self._network_position
        self._control = ControlServer(
            make_app(self, token=position.control_token), position.control_hosts, port
        )
        parts.push_async_callback(self._control.stop)
        self._control_port = await shielded(self._control.start())

    def check_ports(self) -> None:
        """Raises EnvironmentFault, which names the process, if a port of the config is in use. So does `async with`."""
        if not self._free_ports:
            self._network_position.check_ports(self.config, include_edges=self._make_proxy is None)

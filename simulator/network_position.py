"""Network position of flysim: the addresses it listens on, and the ports they are published as.

flysim usually runs on the host, next to its machines. It can also run inside the private network of its machines. Then
it listens on all addresses, resolves every name as Fly's name server does (F-8.15), and shows URLs with the published
ports.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from simulator.config.model import Config
from simulator.machines.port import LOOPBACK, check_port
from simulator.routing.model import join_address

ANY = "any"
_EVERYWHERE = "0.0.0.0"
_LOOPBACK_LISTENERS = (LOOPBACK, "::1")
_DISCARD = 9


@dataclass(frozen=True, slots=True)
class NetworkPosition:
    """Listen addresses, published ports and private address of one flysim."""

    hosts: tuple[str, ...] = (LOOPBACK,)
    """The addresses that the edges and the name server listen on."""
    control_hosts: tuple[str, ...] = (LOOPBACK,)
    """The addresses that the control API listens on, whatever `hosts` are."""
    control_token: str | None = field(default=None, repr=False)
    """What clients of the control API must present on an address other than loopback; None: they are refused."""
    dns_port: int | None = None
    """The port of the name server; None for a free one."""
    private_ip: str | None = None
    """flysim's address in the network of the machines, if it runs inside."""
    published: Mapping[int, int] = field(default_factory=dict)
    """flysim's port -> the port it is published as; ports that are not listed are the same outside."""

    @property
    def is_everywhere(self) -> bool:
        return self.hosts[0] == _EVERYWHERE

    @property
    def own_host(self) -> str:
        """The address on which flysim reaches its own listeners."""
        return LOOPBACK if self.is_everywhere else self.hosts[0]

    def url(self, host: str, port: int) -> str:
        """The URL of a listener, as seen from the host that flysim was started on."""
        host = LOOPBACK if host in (_EVERYWHERE, "::") else host
        return f"http://{join_address(host, self.public(port))}"

    def page_url(self, control_port: int) -> str:
        """The page of the control API; if that is open to other computers, at an address for them, with the token."""
        own = (each for each in self.control_hosts if each not in (*_LOOPBACK_LISTENERS, _EVERYWHERE, "::"))
        page = f"{self.url(next(own, LOOPBACK), control_port)}/"
        return page if self.control_token is None else f"{page}?token={self.control_token}"

    def public(self, port: int) -> int:
        return self.published.get(port, port)

    def check_ports(self, config: Config, *, include_edges: bool = True) -> None:
        """Raises EnvironmentFault, which names the process that uses the port, if a port of the config is in use."""
        for host in self.control_hosts:
            hint = "set another `port` under [control] in flysim.toml (0 or --free-ports: any free port)"
            if host != LOOPBACK:
                hint += ", or another address with --control-listen"
            check_port(host, config.control_port, "the control API", hint)
        for region, port in config.edges.items() if include_edges else ():
            hint = f"set another port for {region} under [edges] in flysim.toml (0 or --free-ports: any free port)"
            check_port(self.hosts[0], port, f"edge {region}", hint)


def addresses_of(listen: str) -> tuple[str, ...]:
    """The addresses that `any` stands for, IPv4 and IPv6; every other value stands for itself."""
    if listen != ANY:
        return (listen,)
    return (_EVERYWHERE, "::") if socket.has_ipv6 and _can_bind("::") else (_EVERYWHERE,)


def control_addresses_of(listen: str) -> tuple[str, ...]:
    """The addresses of the control API: always 127.0.0.1, plus those that `listen` stands for."""
    addresses = addresses_of(listen)
    return addresses if addresses[0] in (LOOPBACK, _EVERYWHERE) else (LOOPBACK, *addresses)


def is_open(control_hosts: Sequence[str]) -> bool:
    """Whether the control API listens on an address whose clients need the token."""
    return any(host not in _LOOPBACK_LISTENERS for host in control_hosts)


def _can_bind(host: str) -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def find_private_ip() -> str | None:
    """flysim's own address in the private network: IPv6 if there is a route, else IPv4; None without either."""
    for family, destination in ((socket.AF_INET6, "fdaa::"), (socket.AF_INET, "10.255.255.255")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                # Sends nothing: the kernel selects the route and the source address.
                probe.connect((destination, _DISCARD))
            except OSError:
                continue
            address = ipaddress.ip_address(probe.getsockname()[0])
        if not address.is_loopback and not address.is_link_local:
            return str(address)
    return None

"""Where flysim stands: on a computer of its own, as usual, or inside the network that its machines are in.

Inside, it listens for everybody there, resolves every name as Fly's name server does (F-8.15), and what a person
outside is told are the ports that its own are published as.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.config.model import Config
from simulator.machines.port import LOOPBACK, check_port
from simulator.routing.model import join_address

ANY = "any"
_EVERYWHERE = "0.0.0.0"
_DISCARD = 9


@dataclass(frozen=True, slots=True)
class NetworkPosition:
    hosts: tuple[str, ...] = (LOOPBACK,)
    """The addresses to listen on; of the name server, too."""
    dns_port: int | None = None
    """Of the name server; None: a free one."""
    private_ip: str | None = None
    """Our address in the machines' network, if we are in it."""
    published: Mapping[int, int] = field(default_factory=dict)
    """Port of ours -> what people outside know it as; others are the same there."""

    @property
    def is_everywhere(self) -> bool:
        return self.hosts[0] == _EVERYWHERE

    @property
    def own_host(self) -> str:
        """Where we find ourselves."""
        return LOOPBACK if self.is_everywhere else self.hosts[0]

    @property
    def control_hosts(self) -> tuple[str, ...]:
        """The control API answers to no name but a loopback one, so it is nowhere else unless Docker publishes it."""
        return self.hosts if self.is_everywhere else (LOOPBACK,)

    def url(self, host: str, port: int) -> str:
        """As a person writes it who is where flysim was started."""
        host = LOOPBACK if host in (_EVERYWHERE, "::") else host
        return f"http://{join_address(host, self.public(port))}"

    def public(self, port: int) -> int:
        return self.published.get(port, port)

    def check_ports(self, config: Config, *, edges_too: bool = True) -> None:
        """Raises EnvironmentFault that names the process which holds a port of the config's."""
        hint = "set another `port` under [control] in flysim.toml, 0 for any free one, or take --free-ports"
        check_port(self.control_hosts[0], config.control_port, "the control API", hint)
        for region, port in config.edges.items() if edges_too else ():
            hint = f"give {region} another port under [edges], 0 for any free one, or take --free-ports"
            check_port(self.hosts[0], port, f"edge {region}", hint)


def addresses_of(listen: str) -> tuple[str, ...]:
    """All that `any` stands for, since `::` alone leaves IPv4 out; any other word for itself."""
    if listen != ANY:
        return (listen,)
    return (_EVERYWHERE, "::") if socket.has_ipv6 and _can_bind("::") else (_EVERYWHERE,)


def _can_bind(host: str) -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def find_private_ip() -> str | None:
    """Our own address by which others in this network reach us: by IPv6 where there is such a way, else by IPv4."""
    for family, somewhere in ((socket.AF_INET6, "fdaa::"), (socket.AF_INET, "10.255.255.255")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(
                    (somewhere, _DISCARD)
                )  # Sends nothing; the kernel chooses the way and our address.
            except OSError:
                continue
            address = ipaddress.ip_address(probe.getsockname()[0])
        if not address.is_loopback and not address.is_link_local:
            return str(address)
    return None

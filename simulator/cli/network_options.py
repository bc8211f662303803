"""Values of `--listen`, `--control-listen`, `--dns-port` and `--published`: listen addresses and outside ports."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from typing import TYPE_CHECKING

from simulator.cli.control import TOKEN_VARIABLE, check_token
from simulator.errors import InputError
from simulator.machines.port import LOOPBACK

if TYPE_CHECKING:
    from simulator.network_position import NetworkPosition


def read_network_position(
    listen: str,
    dns_port: int | None,
    published: list[str],
    *,
    beside_machines: bool,
    control_listen: str | None = None,
) -> NetworkPosition:
    """`beside_machines`: whether the machines may be in the same network as flysim. Raises InputError."""
    from simulator.network_position import (
        ANY,
        NetworkPosition,
        addresses_of,
        control_addresses_of,
        find_private_ip,
        is_open,
    )

    for option, address in (("--listen", listen), ("--control-listen", control_listen)):
        if address is not None and address != ANY and not _is_address(address):
            raise InputError(f"{option} is {address!r}", expected=f"an IP address of this computer, or {ANY}")
    control_hosts = control_addresses_of(control_listen or LOOPBACK)
    return NetworkPosition(
        hosts=addresses_of(listen),
        control_hosts=control_hosts,
        control_token=_make_token() if is_open(control_hosts) else None,
        dns_port=dns_port,
        private_ip=find_private_ip() if beside_machines and listen == ANY else None,
        published=dict(_read_published(text) for text in published),
    )


def _make_token() -> str:
    """The token in the environment, or a random one."""
    token = os.environ.get(TOKEN_VARIABLE)
    return check_token(token, TOKEN_VARIABLE) if token else secrets.token_urlsafe(24)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _read_published(text: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]{1,5}):([0-9]{1,5})", text)
    if match is None:
        raise InputError(
            f"--published is {text!r}",
            expected="a port of flysim and the port it is published as, such as 8080:18080",
        )
    return int(match[1]), int(match[2])

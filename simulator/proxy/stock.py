"""Proxy inside stock mitmproxy, with mitmproxy's own listeners, addons and inspector."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mitmproxy import ctx, exceptions

from simulator.proxy.addon import FlyReplay
from simulator.proxy.core import ProxyCore
from simulator.proxy.name_server import NameServer
from simulator.text import printable

CONFIG_OPTION = "flysim_config"


def add_options(loader: Any) -> None:
    """Register the mitmproxy option for the path of the flysim config."""
    help_text = "Path of the flysim.toml to run. Default: flysim.toml in the current directory."
    loader.add_option(CONFIG_OPTION, str, "", help_text)


def config_path() -> str:
    """The option's value; empty if it is not set."""
    path: str = getattr(ctx.options, CONFIG_OPTION)
    return path


def configure_listeners(edges: Mapping[str, int], host: str, dns_port: int) -> None:
    """Set mitmproxy's options to listen as the edges and the name server, instead of as its regular proxy."""
    modes = [f"reverse:http://{region}:80@{host}:{port}" for region, port in edges.items()]
    ctx.options.update(
        mode=[*modes, f"dns@{host}:{dns_port}"],
        server=True,
        connection_strategy="lazy",
        keep_host_header=True,
        upstream_cert=False,
    )


async def apply_listeners() -> None:
    """Open the listeners set by `configure_listeners`: mitmproxy 12 opens its own before it loads the script."""
    await ctx.master.addons.get("proxyserver").setup_servers()


def option_error(error: Exception) -> exceptions.OptionsError:
    """The exception for an invalid option: mitmproxy prints its text and exits."""
    return exceptions.OptionsError(str(error))


def abort(error: Exception) -> None:
    """Log the error and shut mitmproxy down."""
    logging.error(printable(str(error)))
    ctx.master.shutdown()


class StockProxy:
    """Replacement for `ProxyServer` that uses mitmproxy's own listeners."""

    def __init__(
        self,
        core: ProxyCore,
        edges: Mapping[str, int],
        *,
        host: Sequence[str],
        dns_port: int | None,
        **_: Any,
    ) -> None:
        name_server = NameServer(lambda: core.router.fleet, next(iter(edges), ""))
        self._addon = FlyReplay(core, name_server.answer, inspected=True)
        self._edges = edges
        (self._host,) = host

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        return {region: (self._host, port) for region, port in self._edges.items()}

    @property
    def all_addresses(self) -> dict[tuple[str, int], tuple[str, int]]:
        return {(region, 80): address for region, address in self.addresses.items()}

    async def go_away(self, machine_id: str) -> None:
        """Does nothing: mitmproxy's own WebSocket layer cannot be asked to close."""

    async def start(self) -> None:
        ctx.master.addons.add(self._addon)

    async def stop(self) -> None:
        ctx.master.addons.remove(self._addon)

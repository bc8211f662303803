"""The proxy inside a stock mitmproxy: its listeners, its addons, its inspector."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mitmproxy import ctx, exceptions

from simulator.proxy.addon import FlyReplay
from simulator.proxy.core import ProxyCore
from simulator.proxy.name_server import NameServer

CONFIG_OPTION = "flysim_config"


def add_options(loader: Any) -> None:
    """mitmproxy's option by which the script is told of its config."""
    loader.add_option(CONFIG_OPTION, str, "", "The flysim.toml to run; default: the one in this folder.")


def config_option() -> str:
    text: str = getattr(ctx.options, CONFIG_OPTION)
    return text


def listen(edges: Mapping[str, int], host: str, dns_port: int) -> None:
    """Tell mitmproxy to listen as the edges and the name server, in the place of its usual proxy."""
    modes = [f"reverse:http://{region}:80@{host}:{port}" for region, port in edges.items()]
    ctx.options.update(
        mode=[*modes, f"dns@{host}:{dns_port}"],
        server=True,
        connection_strategy="lazy",
        keep_host_header=True,
        upstream_cert=False,
    )


async def listen_now() -> None:
    """Make what mitmproxy listens on what `listen` said: mitmproxy 12 begins to before it has loaded the script."""
    await ctx.master.addons.get("proxyserver").setup_servers()


def refuse(error: Exception) -> exceptions.OptionsError:
    """How mitmproxy wants to hear of a wrong option: it prints the text and ends."""
    return exceptions.OptionsError(str(error))


def give_up(error: Exception) -> None:
    """End mitmproxy, with the reason."""
    logging.error(str(error))
    ctx.master.shutdown()


class StockProxy:
    """Has the interface of `ProxyServer`; the listening is mitmproxy's."""

    def __init__(
        self,
        core: ProxyCore,
        edges: Mapping[str, int],
        *,
        host: Sequence[str],
        dns_port: int | None,
        **_: Any,
    ) -> None:
        names = NameServer(lambda: core.router.fleet, next(iter(edges), ""))
        self._addon = FlyReplay(core, names.answer, inspected=True)
        self._edges = edges
        (self._host,) = host

    @property
    def addresses(self) -> dict[str, tuple[str, int]]:
        return {region: (self._host, port) for region, port in self._edges.items()}

    @property
    def all_addresses(self) -> dict[tuple[str, int], tuple[str, int]]:
        return {(region, 80): where for region, where in self.addresses.items()}

    async def go_away(self, machine_id: str) -> None:
        """mitmproxy's own WebSocket layer takes no such word."""

    async def start(self) -> None:
        ctx.master.addons.add(self._addon)

    async def stop(self) -> None:
        ctx.master.addons.remove(self._addon)

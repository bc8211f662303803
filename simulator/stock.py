"""Script for stock mitmproxy: `mitmweb -n -s simulator/stock.py` runs the fleet and shows every flow in the inspector.

It reads flysim.toml in the current directory, or the file given by `--set flysim_config=FILE`. `-n` keeps mitmproxy 12
from listening on port 8080 before it has loaded the script. All of mitmproxy's hooks run, so this is slower than
`flysim up`; use it to inspect traffic.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from simulator.config import Config, load_config
from simulator.errors import SimulatorError
from simulator.machines.port import LOOPBACK, free_ports
from simulator.proxy import stock
from simulator.runtime import Simulator


class FlysimScript:
    """Starts the fleet when mitmproxy starts, and stops it when mitmproxy shuts down."""

    _simulator: Simulator | None = None
    _is_running = False

    def load(self, loader: Any) -> None:
        stock.add_options(loader)

    def configure(self, updated: set[str]) -> None:
        if self._simulator is not None or stock.CONFIG_OPTION not in updated:
            return
        path = stock.config_path()
        try:
            config = _with_ports(load_config(Path(path) if path else None))
        except SimulatorError as error:
            raise stock.option_error(error) from error
        self._simulator = Simulator(config, make_proxy=stock.StockProxy)
        stock.configure_listeners(config.edges, LOOPBACK, self._simulator.dns_port)

    async def running(self) -> None:
        assert self._simulator is not None
        await stock.apply_listeners()
        try:
            await self._simulator.__aenter__()
            self._is_running = True
        except SimulatorError as error:
            stock.abort(error)

    async def done(self) -> None:
        if self._simulator is not None and self._is_running:
            await self._simulator.__aexit__(None, None, None)


def _with_ports(config: Config) -> Config:
    """Replace each port 0 by a free port: mitmproxy does not report which port it has chosen."""
    free = iter(free_ports(len(config.edges)))
    return replace(config, edges={region: port or next(free) for region, port in config.edges.items()})


addons = [FlysimScript()]

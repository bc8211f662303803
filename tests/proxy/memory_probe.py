"""Proxy process for memory measurements, in front of an external machine: `memory_probe.py MACHINE_PORT`.

It writes the port of its edge to stdout and then, for each line on stdin, its memory usage in bytes.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from random import Random

import psutil

from simulator.clock import Clock
from simulator.events import Bus
from simulator.journal import Journal
from simulator.proxy import ProxyCore, ProxyServer
from simulator.routing import App, Fleet, Machine, Router, RoutingOptions


async def main(machine_port: int) -> None:
    bus = Bus()
    Journal(bus)
    machine = Machine("d8dd626f379508", "ams-1", "streams", "ams", port=machine_port)
    router = Router(Fleet.of([App("streams")], [machine]), RoutingOptions(), Random(7).randrange)
    server = ProxyServer(ProxyCore(router, Clock(), bus, Random(7)), {"ams": 0})
    await server.start()
    write_line(server.addresses["ams"][1])
    process = psutil.Process()
    while await asyncio.to_thread(sys.stdin.readline):
        gc.collect()
        write_line(process.memory_info().rss)
    await server.stop()


def write_line(number: int) -> None:
    print(number, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

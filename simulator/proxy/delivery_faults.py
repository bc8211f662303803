"""What faults do to the deliveries of one exchange, and the words for it in its trace and in the proxy's log.

It says how a delivery fails, never what the proxy makes of that.
"""

from __future__ import annotations

import time

from mitmproxy import http
from mitmproxy.net.http import status_codes

from simulator.network_conditions import Condition, Meter
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.fast_path import IndexedHeaders
from simulator.routing import Deliver, Exchange, Failure, Machine
from simulator.routing.trace import FAULT


class DeliveryFaults:
    """Is asked only where there is a fault, so `ProxyCore.links` is looked at first."""

    __slots__ = ("_core", "_edge", "_exchange", "_meter")

    def __init__(self, core: ProxyCore, exchange: Exchange, edge: str) -> None:
        self._core = core
        self._exchange = exchange
        self._edge = edge
        self._meter: Meter | None = None

    def meet(self, decision: Deliver) -> Failure | http.Response | None:
        """How the delivery that is about to be made fails before it is sent, or what is answered instead."""
        network, machine = self._core.network, decision.machine
        self._meter = None
        for delay in network.delays(self._edge, machine):
            self._exchange.remark(f"{FAULT}: {delay.words}")
        failing = network.take_failure(self._edge, machine)
        if failing is None:
            if cut := network.find_cut(self._edge, machine):
                self._tell(cut, machine)
            return None
        self._tell(failing, machine)
        return failing.how if isinstance(failing.how, Failure) else _answer(failing.how)

    def is_cut(self, machine: Machine) -> bool:
        network = self._core.network
        return bool(network) and network.find_cut(self._edge, machine) is not None

    def break_at(self, size: int, machine: Machine) -> int | None:
        """`size` bytes of the machine's answer came: after how many the connection breaks; None: not yet."""
        if self._meter is None:
            self._meter = Meter(self._core.network, self._edge, machine)
        broken = self._meter.take(size)
        if broken is None:
            return None
        room, cause = broken
        self._tell(cause, machine)
        return room

    def _tell(self, cause: Condition, machine: Machine) -> None:
        self._exchange.remark(f"{FAULT}: {cause.words}")
        self._core.log_fault(cause, machine)


def _answer(status: int) -> http.Response:
    reason = status_codes.RESPONSES.get(status, "").encode()
    fields = IndexedHeaders(((b"content-length", b"0"),))
    return http.Response(b"HTTP/1.1", status, reason, fields, b"", None, time.time(), time.time())

"""Faults of one exchange's deliveries: failed deliveries, injected responses, connections reset mid-response.

Each fault that affects a delivery is recorded in the exchange's trace and in the proxy's log. This module says how a
delivery fails; how the proxy reacts is decided by `simulator.routing`.
"""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.net.http import status_codes

from simulator.network_conditions import Condition, ResetTrigger
from simulator.proxy.core import ProxyCore
from simulator.proxy.http.message_head import new_response
from simulator.routing import Deliver, Exchange, Failure, Machine
from simulator.routing.trace import FAULT


class DeliveryFaults:
    """The faults that affect one exchange. Callers check `ProxyCore.network` first: it is false without faults."""

    __slots__ = ("_core", "_edge", "_exchange", "_reset_trigger")

    def __init__(self, core: ProxyCore, exchange: Exchange, edge: str) -> None:
        self._core = core
        self._exchange = exchange
        self._edge = edge
        self._reset_trigger: ResetTrigger | None = None

    def before_delivery(self, decision: Deliver) -> Failure | http.Response | None:
        """How the delivery fails before it is sent, the response it gets instead, or None to send it."""
        network, machine = self._core.network, decision.machine
        self._reset_trigger = None
        for delay in network.delays(self._edge, machine):
            self._exchange.add_note(f"{FAULT}: {delay.description}")
        failing = network.take_failure(self._edge, machine)
        if failing is None:
            if cut := network.find_cut(self._edge, machine):
                self._record(cut, machine)
            return None
        self._record(failing, machine)
        return failing.failure if isinstance(failing.failure, Failure) else _empty_response(failing.failure)

    def is_cut(self, machine: Machine) -> bool:
        network = self._core.network
        return bool(network) and network.find_cut(self._edge, machine) is not None

    def bytes_before_reset(self, size: int, machine: Machine) -> int | None:
        """How many of the next `size` bytes of the response pass before a reset; None: all, without a reset."""
        if self._reset_trigger is None:
            self._reset_trigger = ResetTrigger(self._core.network, self._edge, machine)
        reset = self._reset_trigger.count(size)
        if reset is None:
            return None
        passed, cause = reset
        self._record(cause, machine)
        return passed

    def _record(self, cause: Condition, machine: Machine) -> None:
        self._exchange.add_note(f"{FAULT}: {cause.description}")
        self._core.log_fault(cause, machine)


def _empty_response(status: int) -> http.Response:
    reason = status_codes.RESPONSES.get(status, "").encode()
    return new_response(status, reason, ((b"content-length", b"0"),))

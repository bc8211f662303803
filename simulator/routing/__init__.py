"""Routing logic of the Fly Proxy, without I/O: time, fleet and random numbers in, decisions out.

Source: the facts in docs/facts.tsv, cited by their ids.
"""

from simulator.routing.decision import Decision, Deliver, ReadBody, Redirect, Reject, Relay, Wait
from simulator.routing.errors import Failure, ProxyError
from simulator.routing.exchange import IDEMPOTENT_METHODS, Exchange
from simulator.routing.model import App, Fields, Fleet, Machine, MachineState, Request, Response
from simulator.routing.options import RoutingOptions
from simulator.routing.router import Router
from simulator.routing.trace import Cause, Hop, Outcome, Trace

__all__ = [
    "IDEMPOTENT_METHODS",
    "App",
    "Cause",
    "Decision",
    "Deliver",
    "Exchange",
    "Failure",
    "Fields",
    "Fleet",
    "Hop",
    "Machine",
    "MachineState",
    "Outcome",
    "ProxyError",
    "ReadBody",
    "Redirect",
    "Reject",
    "Relay",
    "Request",
    "Response",
    "Router",
    "RoutingOptions",
    "Trace",
    "Wait",
]

"""JSON form of events, machines, findings and log lines."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from simulator.events import (
    Event,
    ExchangeAnswered,
    ExchangeFinished,
    FleetChanged,
    MachineLogged,
    ProxyLogged,
)
from simulator.routing.model import Machine
from simulator.text import encode_json


def event_view(event: Event) -> dict[str, Any]:
    """The fields of the event, plus `type`, the name of its class."""
    view: dict[str, Any] = {"type": type(event).__name__}
    if isinstance(event, FleetChanged):
        return view | {
            "at": event.at,
            "machines": [machine_view(machine) for machine in event.fleet.machines],
        }
    if isinstance(event, ExchangeAnswered | ExchangeFinished):
        return view | {"at": event.at, "trace": event.trace.as_dict()}
    return view | {field.name: getattr(event, field.name) for field in fields(event)}


def machine_view(machine: Machine) -> dict[str, Any]:
    return {
        "id": machine.id,
        "name": machine.name,
        "app": machine.app,
        "region": machine.region,
        "state": machine.state,
        "address": machine.address,
        "healthy": machine.healthy,
        "cordoned": machine.cordoned,
    }


def encode_server_sent(event: Event) -> bytes:
    """A server-sent event whose name is the event's class."""
    return b"event: %s\ndata: %s\n\n" % (type(event).__name__.encode(), encode_json(event_view(event)))


def encode_line(line: MachineLogged | ProxyLogged) -> bytes:
    """A line of newline-delimited JSON."""
    return encode_json(event_view(line)) + b"\n"

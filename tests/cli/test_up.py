"""Messages of `flysim up` about state and health changes."""

from __future__ import annotations

import pytest

from simulator.cli.up import EventPrinter, UpOptions
from simulator.events import MachineHealthChanged, MachineStateChanged
from simulator.routing.model import MachineState

CREATED, STARTING, STARTED = MachineState.CREATED, MachineState.STARTING, MachineState.STARTED
STOPPED, SUSPENDED, DESTROYED = MachineState.STOPPED, MachineState.SUSPENDED, MachineState.DESTROYED


def health(*, healthy: bool, reason: str = "") -> MachineHealthChanged:
    return MachineHealthChanged(0.0, "286533db064e58", "dfw-1", "chat", "dfw", healthy, reason)


def state(
    before: MachineState, after: MachineState, reason: str = "", *, machine_id: str = "286533db064e58"
) -> MachineStateChanged:
    return MachineStateChanged(0.0, machine_id, "dfw-1", "chat", "dfw", before, after, reason)


@pytest.fixture
def printer() -> EventPrinter:
    printer = EventPrinter(UpOptions(ready_file=None, free_ports=True, names=False, quiet=False))
    printer.is_up = True
    return printer


def test_a_failing_and_a_passing_check_are_printed(
    printer: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    for event in (
        health(healthy=True),
        health(healthy=False, reason="GET / returned 500, expected 2xx"),
        health(healthy=True),
        health(healthy=True),
    ):
        printer.print(event)
    assert capsys.readouterr().err.splitlines() == [
        "dfw-1 is unhealthy: GET / returned 500, expected 2xx",
        "dfw-1 is healthy again",
    ]


def test_each_stop_and_start_is_printed_once(
    printer: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    printer.print(health(healthy=False, reason="nothing listens"))
    printer.print(state(STARTED, STOPPED, "exited with status 1"))
    # A machine with the same name in another app:
    printer.print(state(CREATED, STARTED, machine_id="4d891ee9b43e08"))
    printer.print(state(STOPPED, STARTING))
    printer.print(state(STARTING, STARTED))
    printer.print(health(healthy=True))
    printer.print(state(STARTED, SUSPENDED, "paused outside flysim"))
    printer.print(state(SUSPENDED, STARTED))
    printer.print(state(STARTED, SUSPENDED))
    printer.print(state(SUSPENDED, DESTROYED))
    assert capsys.readouterr().err.splitlines() == [
        "dfw-1 is unhealthy: nothing listens",
        "dfw-1 is stopped: exited with status 1",
        "dfw-1 is created, with id 4d891ee9b43e08",
        "dfw-1 is started again",
        "dfw-1 is suspended: paused outside flysim",
        "dfw-1 is resumed",
        "dfw-1 is suspended",
        "dfw-1 is destroyed",
    ]


def test_state_changes_during_the_start_are_remembered_but_not_printed(
    printer: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    printer.is_up = False
    printer.print(state(STARTED, STOPPED, "not running"))
    printer.is_up = True
    printer.print(state(STOPPED, STARTED))
    assert capsys.readouterr().err.splitlines() == ["dfw-1 is started again"]

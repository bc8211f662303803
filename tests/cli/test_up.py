"""What `flysim up` says of machines while they run, from what it hears of them."""

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
def told() -> EventPrinter:
    told = EventPrinter(UpOptions(ready_file=None, free_ports=True, names=False, quiet=False))
    told.is_up = True
    return told


def test_a_check_that_fails_and_passes_again_is_told(
    told: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    for event in (
        health(healthy=True),
        health(healthy=False, reason="GET / was answered with 500, not 2xx"),
        health(healthy=True),
        health(healthy=True),
    ):
        told.take(event)
    assert capsys.readouterr().err.splitlines() == [
        "dfw-1 fails its check: GET / was answered with 500, not 2xx",
        "dfw-1 is healthy again",
    ]


def test_one_that_ends_and_comes_back_is_told_once_of_each(
    told: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    told.take(health(healthy=False, reason="nothing listens"))
    told.take(state(STARTED, STOPPED, "exited with status 1"))
    told.take(state(CREATED, STARTED, machine_id="4d891ee9b43e08"))  # Another app's, of the same name.
    told.take(state(STOPPED, STARTING))
    told.take(state(STARTING, STARTED))
    told.take(health(healthy=True))
    told.take(state(STARTED, SUSPENDED, "paused, not by flysim"))
    told.take(state(SUSPENDED, STARTED))
    told.take(state(STARTED, SUSPENDED))
    told.take(state(SUSPENDED, DESTROYED))
    assert capsys.readouterr().err.splitlines() == [
        "dfw-1 fails its check: nothing listens",
        "dfw-1 is stopped: exited with status 1",
        "dfw-1 is there, with the id 4d891ee9b43e08",
        "dfw-1 is started again",
        "dfw-1 is suspended: paused, not by flysim",
        "dfw-1 is resumed",
        "dfw-1 is suspended",
        "dfw-1 is gone",
    ]


def test_until_all_run_nothing_is_told_but_one_that_was_down_is_known(
    told: EventPrinter, capsys: pytest.CaptureFixture[str]
) -> None:
    told.is_up = False
    told.take(state(STARTED, STOPPED, "it does not run"))
    told.is_up = True
    told.take(state(STOPPED, STARTED))
    assert capsys.readouterr().err.splitlines() == ["dfw-1 is started again"]

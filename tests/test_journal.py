"""The journal of exchanges and log lines, and the event bus."""

from __future__ import annotations

from dataclasses import replace

from simulator.events import (
    Bus,
    Event,
    ExchangeAnswered,
    ExchangeFinished,
    FleetChanged,
    MachineLogged,
    ProxyLogged,
)
from simulator.journal import Journal
from simulator.routing import Outcome, Trace
from tests.routing.build import AMS_1, DEMO, DFW_1, Caller


def trace(number: int) -> Trace:
    return replace(Caller().trace, request_id=f"request-{number}")


def line(text: str, at: float = 1.0, machine_id: str = AMS_1.id) -> MachineLogged:
    return MachineLogged(at, machine_id, "ams-1", "streams", "ams", "stdout", text)


def proxy_line(text: str, at: float = 1.0) -> ProxyLogged:
    return ProxyLogged(at, "streams", AMS_1.id, "ams", "error", text, "PA02")


def journal_of(*events: Event, max_traces: int = 3, max_lines: int = 3) -> Journal:
    bus = Bus()
    journal = Journal(bus, max_traces=max_traces, max_lines=max_lines)
    for event in events:
        bus.publish(event)
    return journal


def test_an_exchange_is_in_the_journal_from_its_response_on() -> None:
    answered = trace(1)
    journal = journal_of(ExchangeAnswered(1.0, answered))
    assert journal.find_trace("request-1") == answered
    assert journal.find_trace("request-2") is None


def test_a_finished_exchange_replaces_its_earlier_trace() -> None:
    answered = trace(1)
    finished = replace(answered, outcome=Outcome.RELAYED, ended_at=2.0)
    journal = journal_of(
        ExchangeAnswered(1.0, answered), ExchangeAnswered(1.0, trace(2)), ExchangeFinished(2.0, finished)
    )
    assert journal.traces() == (finished, trace(2))


def test_the_oldest_exchange_is_dropped_first() -> None:
    journal = journal_of(*(ExchangeFinished(1.0, trace(number)) for number in range(5)))
    assert [trace.request_id for trace in journal.traces()] == ["request-2", "request-3", "request-4"]
    assert journal.find_trace("request-1") is None


def test_the_journal_keeps_the_last_lines_of_each_machine() -> None:
    journal = journal_of(*(line(f"line {number}") for number in range(5)), line("other", machine_id=DFW_1.id))
    assert [logged.line for logged in journal.log_of(AMS_1.id)] == ["line 2", "line 3", "line 4"]
    assert [logged.line for logged in journal.log_of(DFW_1.id)] == ["other"]
    assert journal.log_of("00000000000000") == ()


def test_the_combined_log_is_ordered_by_time() -> None:
    late, early, between = line("late", 3.0), line("early", 1.0, DFW_1.id), proxy_line("between", 2.0)
    assert journal_of(late, early, between).log() == (early, between, late)


def test_lines_with_the_same_time_keep_their_order() -> None:
    lines = [line(text) for text in ("one", "two", "three")]
    assert journal_of(*lines).log() == tuple(lines)


def test_the_journal_keeps_the_last_lines_of_the_proxy() -> None:
    lines = [proxy_line(f"line {number}", float(number)) for number in range(5)]
    assert journal_of(*lines).log() == tuple(lines[2:])


def test_the_journal_ignores_other_events() -> None:
    journal = journal_of(FleetChanged(1.0, DEMO))
    assert (journal.traces(), journal.log()) == ((), ())


def test_a_cleared_journal_is_empty_and_keeps_recording() -> None:
    bus = Bus()
    journal = Journal(bus)
    for event in (ExchangeFinished(1.0, trace(1)), line("one"), proxy_line("two")):
        bus.publish(event)
    journal.clear()
    assert (journal.traces(), journal.log(), journal.log_of(AMS_1.id)) == ((), (), ())
    bus.publish(line("three"))
    assert [logged.line for logged in journal.log_of(AMS_1.id)] == ["three"]


# The event bus.


def test_every_subscriber_gets_every_event_in_the_order_of_subscription() -> None:
    bus = Bus()
    got: list[tuple[str, Event]] = []
    bus.subscribe(lambda event: got.append(("first", event)))
    bus.subscribe(lambda event: got.append(("second", event)))
    event = line("one")
    bus.publish(event)
    assert got == [("first", event), ("second", event)]


def test_a_subscriber_can_unsubscribe_while_it_receives_an_event() -> None:
    bus = Bus()
    got: list[str] = []

    def receive(event: Event) -> None:
        got.append("received")
        end()

    end = bus.subscribe(receive)
    bus.subscribe(lambda event: got.append("other"))
    bus.publish(line("one"))
    bus.publish(line("two"))
    end()
    assert got == ["received", "other", "other"]

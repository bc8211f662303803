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


def test_an_exchange_is_known_from_its_answer_on() -> None:
    answered = trace(1)
    journal = journal_of(ExchangeAnswered(1.0, answered))
    assert journal.find_trace("request-1") == answered
    assert journal.find_trace("request-2") is None


def test_the_end_of_an_exchange_replaces_what_was_known_of_it() -> None:
    answered = trace(1)
    finished = replace(answered, outcome=Outcome.RELAYED, ended_at=2.0)
    journal = journal_of(
        ExchangeAnswered(1.0, answered), ExchangeAnswered(1.0, trace(2)), ExchangeFinished(2.0, finished)
    )
    assert journal.traces() == (finished, trace(2))


def test_the_oldest_exchange_is_forgotten_first() -> None:
    journal = journal_of(*(ExchangeFinished(1.0, trace(number)) for number in range(5)))
    assert [trace.request_id for trace in journal.traces()] == ["request-2", "request-3", "request-4"]
    assert journal.find_trace("request-1") is None


def test_each_machine_has_its_own_last_lines() -> None:
    journal = journal_of(*(line(f"line {number}") for number in range(5)), line("other", machine_id=DFW_1.id))
    assert [logged.line for logged in journal.log_of(AMS_1.id)] == ["line 2", "line 3", "line 4"]
    assert [logged.line for logged in journal.log_of(DFW_1.id)] == ["other"]
    assert journal.log_of("00000000000000") == ()


def test_the_log_of_all_is_in_order_of_time() -> None:
    late, early, between = line("late", 3.0), line("early", 1.0, DFW_1.id), proxy_line("between", 2.0)
    assert journal_of(late, early, between).log() == (early, between, late)


def test_lines_of_one_instant_stay_in_the_order_in_which_a_machine_wrote_them() -> None:
    lines = [line(text) for text in ("one", "two", "three")]
    assert journal_of(*lines).log() == tuple(lines)


def test_of_the_proxys_lines_the_last_are_kept() -> None:
    lines = [proxy_line(f"line {number}", float(number)) for number in range(5)]
    assert journal_of(*lines).log() == tuple(lines[2:])


def test_other_events_are_no_business_of_the_journal() -> None:
    journal = journal_of(FleetChanged(1.0, DEMO))
    assert (journal.traces(), journal.log()) == ((), ())


def test_a_cleared_journal_remembers_nothing_and_goes_on() -> None:
    bus = Bus()
    journal = Journal(bus)
    for event in (ExchangeFinished(1.0, trace(1)), line("one"), proxy_line("two")):
        bus.publish(event)
    journal.clear()
    assert (journal.traces(), journal.log(), journal.log_of(AMS_1.id)) == ((), (), ())
    bus.publish(line("three"))
    assert [logged.line for logged in journal.log_of(AMS_1.id)] == ["three"]


# The bus that brings it all.


def test_every_subscriber_gets_every_event_in_the_order_of_subscription() -> None:
    bus = Bus()
    got: list[tuple[str, Event]] = []
    bus.subscribe(lambda event: got.append(("first", event)))
    bus.subscribe(lambda event: got.append(("second", event)))
    event = line("one")
    bus.publish(event)
    assert got == [("first", event), ("second", event)]


def test_a_subscription_ends_once_and_for_all_even_while_an_event_is_handed_out() -> None:
    bus = Bus()
    got: list[str] = []

    def take(event: Event) -> None:
        got.append("taken")
        end()

    end = bus.subscribe(take)
    bus.subscribe(lambda event: got.append("other"))
    bus.publish(line("one"))
    bus.publish(line("two"))
    end()
    assert got == ["taken", "other", "other"]

"""Rules that the history of a soak run must satisfy. Each is a function from the history to its violations.

Facts about Fly are cited with their ids. A rule reads nothing but the history, so it can be run again on its file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, mean

from tests.soak.history import Event, History

MAX_DELIVERIES = 11
"""The first delivery and ten replays (F-1.38)."""
MAX_SLOPE_MB_PER_MINUTE = 0.1
SLOPE_FROM_SECONDS = 300.0
"""A shorter run says nothing about the slope of the memory."""
SETTLED_PART = 0.3
"""The part of the run after which the memory must not grow."""
_OUTCOMES = ("answered", "broken", "left", "hung")


@dataclass(frozen=True)
class Violation:
    rule: str
    text: str
    events: Sequence[Event] = field(default=(), repr=False)
    """The lines of the history that show it."""


Found = tuple[str, Sequence[Event]]
Rule = Callable[[History], Iterator[Found]]


def check(history: History) -> list[Violation]:
    return [
        Violation(rule.__name__.replace("_", " "), text, events)
        for rule in RULES
        for text, events in rule(history)
    ]


def each_request_has_one_outcome(history: History) -> Iterator[Found]:
    for nonce, events in history.by_request.items():
        sent = _named(events, "sent")
        outcomes = _named(events, *_OUTCOMES)
        if len(sent) != 1:
            yield f"request {nonce} was sent {len(sent)} times by its client", events
        elif len(outcomes) != 1:
            yield f"request {nonce} has {len(outcomes)} outcomes", events


def each_response_belongs_to_its_request(history: History) -> Iterator[Found]:
    for nonce, events in history.by_request.items():
        for event in _named(events, "answered"):
            if event["echo"] not in (None, nonce):
                yield f"the client of {nonce} got the response to {event['echo']}", events
            elif event["echo"] is not None and not event["intact"]:
                yield f"the body of {nonce} reached the machine changed", events
    for event in history.of("unexpected"):
        yield "a client got bytes that belong to no request", [event]


def an_error_has_a_fault_as_its_reason(history: History) -> Iterator[Found]:
    """A broken connection or an error of the proxy, outside a fault, is an error of flysim."""
    for nonce, events in history.by_request.items():
        sent, outcome = _find(events, "sent"), _find(events, *_OUTCOMES)
        if not sent or not outcome or history.has_fault(sent["at"], outcome["at"]):
            continue
        is_error = outcome["event"] == "broken" or outcome.get("status", 200) >= 500
        if is_error and sent["expected"] == "ok":
            yield f"request {nonce} failed without a fault", events


def a_refused_replay_is_an_error(history: History) -> Iterator[Found]:
    """A replay loop, a body that is too large, a foreign or a lost target (F-1.38, F-1.32, F-1.69)."""
    for nonce, events in history.by_request.items():
        sent, answered = _find(events, "sent"), _find(events, "answered")
        if sent.get("expected") == "refused" and answered.get("status", 500) < 500:
            yield f"request {nonce} should be refused, but got {answered['status']}", events


def a_request_is_delivered_at_most_eleven_times(history: History) -> Iterator[Found]:
    for nonce, events in history.by_request.items():
        deliveries = len(_named(events, "received"))
        if deliveries > MAX_DELIVERIES:
            yield f"request {nonce} was delivered {deliveries} times", events


def a_retry_never_repeats_a_request_that_a_machine_received(history: History) -> Iterator[Found]:
    """K-34. Only a replay, or the fallback of one, sends a received request again."""
    for nonce, events in history.by_request.items():
        received, replays = _named(events, "received"), _named(events, "replayed")
        fallbacks = [event for event in received if event["failed"]]
        if len(received) - len(fallbacks) > 1 + len(replays) or len(fallbacks) > len(replays):
            yield (
                f"request {nonce} was received {len(received)} times, {len(fallbacks)} of them as a fallback, "
                f"for {len(replays)} replays",
                events,
            )


def a_request_keeps_its_id(history: History) -> Iterator[Found]:
    """K-38, and no two requests have the same id."""
    owners: dict[str, str] = {}
    for nonce, events in history.by_request.items():
        ids = {event["request_id"] for event in _named(events, "received")}
        if len(ids) > 1:
            yield f"request {nonce} has several request ids: {', '.join(sorted(map(str, ids)))}", events
        for request_id in ids:
            other = owners.setdefault(request_id, nonce)
            if other != nonce:
                yield f"requests {other} and {nonce} have the same id {request_id}", events


def a_request_stays_in_its_app_network_and_organization(history: History) -> Iterator[Found]:
    """F-1.69 to F-1.71"""
    for nonce, events in history.by_request.items():
        sent = _find(events, "sent")
        for event in _named(events, "received"):
            if sent and event["app"] not in sent["allowed"]:
                yield f"request {nonce} reached the app {event['app']}", events


def a_session_stays_on_its_machine(history: History) -> Iterator[Found]:
    for nonce, events in history.by_request.items():
        sent, answered = _find(events, "sent"), _find(events, "answered")
        owner = sent.get("cookie")
        if owner and answered.get("machine") not in (None, owner):
            yield (
                f"request {nonce} of a session on {owner} got its response from {answered['machine']}",
                events,
            )


def a_websocket_is_on_the_machine_of_its_page(history: History) -> Iterator[Found]:
    for event in history.of("socket"):
        related = [*history.by_request[event["n"]]]
        if any(machine != event["page"] for machine in event["machines"]):
            yield (
                f"the WebSocket {event['n']} of {event['page']} is on {', '.join(event['machines'])}",
                related,
            )
        sent = _find(related, "sent")
        if event["closed"] and sent and not history.has_fault(sent["at"], event["at"], event["page"]):
            yield f"the WebSocket {event['n']} was closed without a fault: {event['closed']}", related


def nothing_outlasts_its_deadline(history: History) -> Iterator[Found]:
    for nonce, events in history.by_request.items():
        sent, outcome = _find(events, "sent"), _find(events, *_OUTCOMES)
        if outcome.get("event") == "hung":
            yield f"request {nonce} has no end: {outcome.get('why')}", events
        elif sent and outcome and outcome["at"] - sent["at"] > sent["deadline"] + 1 and "ws" not in nonce:
            yield f"request {nonce} took {outcome['at'] - sent['at']:.1f} s", events


def resources_return_to_their_start(history: History) -> Iterator[Found]:
    """Descriptors, child processes and asyncio tasks, after the faults have ended and the clients have left."""
    samples = history.of("sample")
    start = [event for event in samples if event["phase"] == "start"][-1:]
    end = [event for event in samples if event["phase"] == "end"][-1:]
    if not start or not end:
        yield "there is no sample of the resources at the start or at the end", [*start, *end]
        return
    for name in ("fds", "children", "tasks"):
        if end[0][name] > start[0][name]:
            yield f"{name}: {start[0][name]} at the start, {end[0][name]} at the end", [*start, *end]


def memory_does_not_grow(history: History) -> Iterator[Found]:
    slope = memory_slope(history)
    samples = load_samples(history)
    if slope is None or samples[-1]["at"] - samples[0]["at"] < SLOPE_FROM_SECONDS * 0.95:
        return
    if slope > MAX_SLOPE_MB_PER_MINUTE:
        yield f"the memory grows by {slope:.3f} MB per minute", [samples[0], samples[-1]]


def flysim_reports_no_error_and_ends_cleanly(history: History) -> Iterator[Found]:
    for event in history.of("output"):
        yield f"flysim printed: {event['line']}", [event]
    exits = history.of("exit")
    if not exits:
        yield "flysim has not ended", []
    for event in exits:
        if event["status"] != 0:
            yield f"flysim exited with {event['status']}", [event]
        if event["left"]:
            yield f"processes are left: {', '.join(event['left'])}", [event]


RULES: tuple[Rule, ...] = (
    each_request_has_one_outcome,
    each_response_belongs_to_its_request,
    an_error_has_a_fault_as_its_reason,
    a_refused_replay_is_an_error,
    a_request_is_delivered_at_most_eleven_times,
    a_retry_never_repeats_a_request_that_a_machine_received,
    a_request_keeps_its_id,
    a_request_stays_in_its_app_network_and_organization,
    a_session_stays_on_its_machine,
    a_websocket_is_on_the_machine_of_its_page,
    nothing_outlasts_its_deadline,
    resources_return_to_their_start,
    memory_does_not_grow,
    flysim_reports_no_error_and_ends_cleanly,
)


def load_samples(history: History) -> list[Event]:
    return [event for event in history.of("sample") if event["phase"] == "load"]


def memory_slope(history: History) -> float | None:
    """Growth of the resident memory in MB per minute over the last 70 % of the load; None with too few samples."""
    samples = load_samples(history)
    settled = samples[int(len(samples) * SETTLED_PART) :]
    if len(settled) < 3:
        return None
    start = mean(event["at"] for event in settled)
    return (
        linear_regression(
            [event["at"] - start for event in settled], [event["rss_mb"] for event in settled]
        ).slope
        * 60
    )


def _named(events: Sequence[Event], *names: str) -> list[Event]:
    return [event for event in events if event["event"] in names]


def _find(events: Sequence[Event], *names: str) -> Event:
    """The first event with one of these names; empty if there is none."""
    return next((event for event in events if event["event"] in names), {})

"""Report of a soak run: a summary of its history, and each violation with the lines that show it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from tests.soak.history import History
from tests.soak.rules import Violation, load_samples, memory_slope

MAX_VIOLATIONS = 10
MAX_EVENTS = 15


def summarize(history: History) -> Iterator[str]:
    sent = {event["n"]: event for event in history.of("sent")}
    outcomes = history.of("answered", "broken", "left", "hung")
    latencies = sorted(
        event["at"] - sent[event["n"]]["at"] for event in outcomes if event["event"] == "answered"
    )
    messages = sum(event["messages"] for event in history.of("socket"))
    start, samples = history.first("start"), load_samples(history)
    rate = (len(sent) + messages) / start["seconds"]
    yield f"requests    {len(sent)}, and {messages} WebSocket messages: {rate:.0f} per second"
    yield f"kinds       {_counts(event['kind'] for event in sent.values())}"
    yield f"outcomes    {_counts(str(event.get('status', event['event'])) for event in outcomes)}"
    yield f"deliveries  {len(history.of('received'))}, replays {len(history.of('replayed'))}"
    yield f"faults      {_counts(event['kind'] for event in history.of('fault')) or 'none'}"
    for event in history.of("note"):
        yield f"            not possible: {event['kind']}: {event['text']}"
    if latencies:
        p50, p99 = (latencies[int((len(latencies) - 1) * part)] for part in (0.5, 0.99))
        yield f"latency     p50 {p50:.3f} s, p99 {p99:.3f} s, worst {latencies[-1]:.2f} s"
    memory = [event["rss_mb"] for event in history.of("sample")]
    if memory:
        slope = memory_slope(history)
        grows = f", slope {slope:+.3f} MB per minute" if slope is not None and len(samples) > 2 else ""
        yield f"memory      start {memory[0]:.1f}, peak {max(memory):.1f}, end {memory[-1]:.1f} MB{grows}"
    for name in ("fds", "tasks", "children"):
        values = [event[name] for event in history.of("sample")]
        if values:
            yield f"{name:11} start {values[0]}, peak {max(values)}, end {values[-1]}"


def _counts(names: Iterator[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in Counter(names).most_common())


def describe(violations: list[Violation]) -> Iterator[str]:
    """The first violations, each with the lines of the history that show it."""
    for violation in violations[:MAX_VIOLATIONS]:
        yield f"violated: {violation.rule}: {violation.text}"
        for event in violation.events[:MAX_EVENTS]:
            yield f"  {json.dumps(event)}"
    if len(violations) > MAX_VIOLATIONS:
        rest = Counter(violation.rule for violation in violations)
        yield "all violations: " + ", ".join(f"{rule} {number}" for rule, number in rest.most_common())

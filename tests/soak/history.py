"""History of a soak run: one JSON object per line, each with the time and the name of its event.

Events of clients have the nonce `n` of a request: `sent` (kind, app, method, deadline, allowed apps, expectation), then
exactly one of `answered`, `broken`, `left` (on purpose) and `hung`; `unexpected` for bytes that belong to no request.
Machines write `received` and `replayed`. `fault` and `healed` have an id and machines: `healed` also has the clone that
the fault created, which is destroyed at its end. `sample` has resources, `output` a line of
flysim's log that should not be there, `exit` how flysim ended.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class Recorder:
    """Appends events to the history's file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")

    def write(self, event: str, **values: Any) -> None:
        self._file.write(json.dumps({"at": time.time(), "event": event, **values}) + "\n")

    def close(self) -> None:
        self._file.close()


def read_events(path: Path) -> list[Event]:
    """The events of a history file in the order of their times."""
    with path.open(encoding="utf-8") as file:
        return sorted((json.loads(line) for line in file), key=lambda event: event["at"])


def merge(path: Path, logs: Iterable[Path]) -> None:
    """Add the logs of the machines to the history, ordered by time. That of a killed machine may end in half a line."""
    events = read_events(path)
    for log in logs:
        events += [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    events.sort(key=lambda event: event["at"])
    path.write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")


class History:
    """The events of one run, with an index by request."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.by_request: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            if "n" in event:
                self.by_request[event["n"]].append(event)
        self._faults = list(_fault_intervals(events))

    def of(self, *names: str) -> list[Event]:
        return [event for event in self.events if event["event"] in names]

    def first(self, name: str) -> Event:
        """The first event of this name; empty if there is none."""
        return next((event for event in self.events if event["event"] == name), {})

    def has_fault(self, start: float, end: float, machine: str | None = None) -> bool:
        """Whether a fault was active between the two times: any, or one that concerns the machine."""
        return any(
            since <= end and start <= until and (machine is None or not machines or machine in machines)
            for since, until, machines in self._faults
        )


def _fault_intervals(events: list[Event]) -> Iterator[tuple[float, float, list[str]]]:
    """Start, end and machine ids (empty: all) of each fault. Its effect outlasts it by `grace` seconds."""
    healed = {event["id"]: event for event in events if event["event"] == "healed"}
    for event in events:
        if event["event"] == "fault":
            end = healed.get(event["id"], {"at": float("inf")})
            machines = event["machines"] and [*event["machines"], *end.get("machines", ())]
            yield event["at"], end["at"] + end.get("grace", 0.0), machines

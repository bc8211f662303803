"""Evidence and fixes that findings share: which hop requested which replay, and the corrected value."""

from __future__ import annotations

from simulator.diagnosis.replay import is_body
from simulator.results import Evidence
from simulator.routing.trace import Trace

FLY_REPLAY = "fly-replay"


def replay_evidence(trace: Trace, hop: int = -1, part: str | None = None) -> Evidence:
    """The replay that a hop requested. `hop`: its position, from the end if negative; `part`: the wrong part of it."""
    position = range(len(trace.hops))[hop]
    text = trace.hops[position].replay
    if text is None:  # an incomplete replay body
        return Evidence(hop=position)
    start = text.find(part) if part else -1
    return Evidence(
        hop=position,
        header=None if is_body(text) else FLY_REPLAY,
        text=text,
        start=start if part and start >= 0 else None,
        end=start + len(part) if part and start >= 0 else None,
    )


def failure_evidence(trace: Trace, hop: int = -1) -> Evidence:
    """A delivery without a response: its failure, as recorded in the trace."""
    position = range(len(trace.hops))[hop]
    return Evidence(hop=position, text=trace.hops[position].failure)


def corrected(replay: str | None, wrong: str, right: str) -> tuple[str, str] | None:
    """The header line before and after the correction; None for a replay body, or if `wrong` is not in the value."""
    if replay is None or is_body(replay) or wrong not in replay:
        return None
    return f"{FLY_REPLAY}: {replay}", f"{FLY_REPLAY}: {replay.replace(wrong, right, 1)}"

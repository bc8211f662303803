"""Hop ladder: one exchange as plain text, for a terminal of 100 columns.

The first line shows the request and the response of the client. One line per hop follows, with the replay that the
machine requested, if any. Repeated hops are counted instead of listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.routing.trace import Hop, Outcome, Trace
from simulator.text import escape

WIDTH = 100
_INDENT = "  "
_MAX_BLOCK_LENGTH = 4
_MIN_REPEATS = 3
_MIN_WIDTH_FOR_IDS = 80
_MIN_NOTE_WIDTH = 8
_NOTED_REQUEST_HEADERS = ("fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable")
_NOTED_RESPONSE_HEADERS = ("location", "set-cookie")


def ladder(trace: Trace, *, headers: bool = False, width: int = WIDTH, as_websocket: bool = False) -> str:
    """Return the lines of the ladder. `headers`: with the request and response headers of each hop, in full.

    Headers of hops that equal an earlier one are omitted. `as_websocket`: the client sent a WebSocket handshake,
    even if the trace does not show it.

    >>> routed = Hop("d8dd626f379508", "ams-1", "chat", "ams", Cause.ROUTED, 0.0, 0.004, status=200)
    >>> trace = Trace("01J", "ams", "chat", "GET", "/", "chat.fly.dev", "http", 0.0, (routed,))
    >>> print(ladder(trace))
    GET /  at edge ams  → no response yet
      1  ams-1  ams  d8dd626f379508  routed  200                                                    4 ms
    """
    lines = [_headline(trace, as_websocket=as_websocket)]
    table = _Table.of(trace.hops, width)
    seen: set[tuple[object, ...]] = set()
    for block in collapse(trace.hops):
        for offset, hop in enumerate(block.hops):
            fields = list(_fields(hop)) if headers and _signature(hop) not in seen else []
            seen.add(_signature(hop))
            note = "" if any(_note(hop) in field for field in fields) else _note(hop)
            waited = [f"{_INDENT * 3}· {hop.note}"] if hop.note else []
            lines += [table.line(_number(block, offset), hop, note), *waited, *fields]
        if block.repeats > 1 and len(block.hops) > 1:
            lines.append(f"{_INDENT}{'⋮':>{table.number}}  {_repetition(block)}")
    lines += _footer(trace)
    return "\n".join(line.rstrip() for line in lines)


def _headline(trace: Trace, *, as_websocket: bool) -> str:
    method = "WebSocket" if trace.websocket or as_websocket else trace.method
    return f"{method} {_cut(trace.target, 48)}  at edge {trace.edge}  → {_result(trace)}{_duration(trace)}"


def _result(trace: Trace) -> str:
    status = "" if trace.status is None else str(trace.status)
    match trace.outcome:
        case Outcome.REJECTED:
            return f"{status} from the proxy, {trace.error}".strip()
        case Outcome.CLIENT_LEFT if trace.status is None:
            return "the client disconnected before a response"
        case Outcome.PENDING if trace.status is None:
            return "no response yet"
    return f"{status} from {trace.served_by or 'the proxy'}"


def _duration(trace: Trace) -> str:
    return "" if trace.answered_at is None else f" in {_milliseconds(trace.answered_at - trace.started_at)}"


def _milliseconds(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else f"{seconds * 1000:.1f} ms"


def _footer(trace: Trace) -> Iterator[str]:
    if trace.outcome is Outcome.REJECTED and not trace.hops:
        yield f"{_INDENT}no machine received the request"
    if trace.error is not None:
        yield f"{_INDENT}✗ {trace.error} {escape(trace.message or '')}"
    elif trace.outcome is Outcome.BROKEN:
        yield f"{_INDENT}✗ the machine closed the connection in the middle of its response"
    if trace.close_code is not None:
        yield f"{_INDENT}WebSocket closed with code {trace.close_code}"
    for warning in trace.warnings:
        yield f"{_INDENT}! {escape(warning)}"


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive hops that occur `repeats` times in a row; `first` is the number of the first hop, from 1."""

    first: int
    hops: tuple[Hop, ...]
    repeats: int = 1


def collapse(hops: Sequence[Hop]) -> Iterator[Block]:
    """Group hops into blocks: repetitions of up to four hops into one block, all others into blocks of one hop."""
    at = 0
    while at < len(hops):
        length, repeats = _shortest_repeating_block(hops, at)
        yield Block(at + 1, tuple(hops[at : at + length]), repeats)
        at += length * repeats


def _shortest_repeating_block(hops: Sequence[Hop], at: int) -> tuple[int, int]:
    for length in range(1, _MAX_BLOCK_LENGTH + 1):
        repeats = _count_repeats(hops, at, length)
        if repeats >= _MIN_REPEATS:
            return length, repeats
    return 1, 1


def _count_repeats(hops: Sequence[Hop], at: int, length: int) -> int:
    kinds = [_signature(hop) for hop in hops[at : at + length]]
    repeats = 1
    while [_signature(hop) for hop in hops[at + repeats * length : at + (repeats + 1) * length]] == kinds:
        repeats += 1
    return repeats


def _signature(hop: Hop) -> tuple[object, ...]:
    return (hop.machine_id, hop.cause, hop.status, hop.failure, hop.replay)


def _repetition(block: Block) -> str:
    length = len(block.hops)
    last = block.first + length * block.repeats - 1
    return f"hops {block.first}–{block.first + length - 1} occur {block.repeats} times, up to hop {last}"


def _number(block: Block, offset: int) -> str:
    first = block.first + offset
    if block.repeats > 1 and len(block.hops) == 1:
        return f"{first}–{first + block.repeats - 1}"
    return str(first)


@dataclass(frozen=True, slots=True)
class _Table:
    """Column widths that fit the hops. The note gets the remaining width; ids are omitted on narrow terminals."""

    number: int
    machine: int
    cause: int
    note: int
    has_ids: bool

    @classmethod
    def of(cls, hops: Sequence[Hop], width: int) -> _Table:
        number = max((len(_number(block, len(block.hops) - 1)) for block in collapse(hops)), default=1)
        machine = max((len(hop.machine) for hop in hops), default=0)
        cause = max((len(_cause(hop)) for hop in hops), default=0)
        has_ids = width >= _MIN_WIDTH_FOR_IDS
        ids = len("  0123456789abcd") if has_ids else 0
        fixed = len(_INDENT) + number + machine + cause + len("  reg    307    ") + 9 + ids
        return cls(number, machine, cause, max(_MIN_NOTE_WIDTH, width - fixed), has_ids)

    def line(self, number: str, hop: Hop, note: str) -> str:
        status = "—" if hop.status is None else str(hop.status)
        note = _cut(note, self.note)
        ids = f"{hop.machine_id:<14}  " if self.has_ids else ""
        took = "" if hop.ended_at is None else _milliseconds(hop.ended_at - hop.started_at)
        return (
            f"{_INDENT}{number:>{self.number}}  {hop.machine:<{self.machine}}  {hop.region:<3}  {ids}"
            f"{_cause(hop):<{self.cause}}  {status:<3}  {note:<{self.note}} {took:>8}"
        )


def _cause(hop: Hop) -> str:
    return f"{hop.cause.value} ×{hop.attempts}" if hop.attempts > 1 else hop.cause.value


def _note(hop: Hop) -> str:
    """Return the most important detail of a hop: its replay, its failure, or a header."""
    if hop.replay is not None:
        return f"fly-replay: {hop.replay}"
    if hop.failure is not None:
        return hop.failure
    received = dict(hop.received)
    for name in _NOTED_RESPONSE_HEADERS:
        if name in received:
            return f"{name}: {received[name]}"
    sent = {name.lower(): value for name, value in hop.sent}
    return next((f"{name}: {sent[name]}" for name in _NOTED_REQUEST_HEADERS if name in sent), "")


def _fields(hop: Hop) -> Iterator[str]:
    for name, value in hop.sent:
        yield f"{_INDENT * 3}→ {escape(f'{name.lower()}: {value}')}"
    for name, value in hop.received:
        yield f"{_INDENT * 3}← {escape(f'{name.lower()}: {value}')}"


def _cut(text: str, width: int) -> str:
    shown = escape(text)
    return shown if len(shown) <= width else f"{shown[: width - 1]}…"

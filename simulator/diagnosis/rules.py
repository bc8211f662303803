"""Diagnosis rules: one function per finding, which takes a trace and the fleet and returns a finding or None.

A rule reads one exchange. Rows of the failure gallery that need several exchanges, or data that a trace does not
contain, have no rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulator.diagnosis.evidence import corrected, failure_evidence, replay_evidence
from simulator.diagnosis.loop import find_replay_loop, find_self_replay
from simulator.diagnosis.replay import quote_replay, read_replay
from simulator.results import Evidence, Finding, Fix
from simulator.routing.model import Fleet, Machine, MachineState
from simulator.routing.regions import members
from simulator.routing.replay.directive import ReplayDirective
from simulator.routing.trace import FAULT, Cause, Hop, Outcome, Trace

Rule = Callable[[Trace, Fleet], Finding | None]

FINDINGS = (
    "self-replay",
    "replay-loop",
    "stale-cookie",
    "lost-target",
    "foreign-instance",
    "empty-region",
    "broken-directive",
    "replayed-fallback",
    "unknown-app",
    "large-body",
    "negotiated-upgrade",
    "doubtful-directive",
    "refused-connection",
    "broken-answer",
)
"""The ids of all findings, in the order of the rules; docs/findings.md explains each."""


@dataclass(frozen=True, slots=True)
class LostReplay:
    """A replay that failed because no machine could take the request."""

    source: Hop
    directive: ReplayDirective

    @property
    def app(self) -> str:
        return self.directive.app or self.source.app


def find_lost_target(trace: Trace, fleet: Fleet) -> Finding | None:
    """A replay to a machine that cannot take it (gallery 4); `stale-cookie` if the client's cookie names it."""
    replay = _find_lost_replay(trace)
    if replay is None or replay.directive.instance is None:
        return None
    wanted = replay.directive.instance
    machine = fleet.find(wanted)
    if machine is not None and (machine.app != replay.app or machine.is_candidate):
        return None  # find_foreign_instance reports it, or it is available again.
    condition = f"{machine.name} is {_condition(machine)}" if machine else "there is no such machine"
    cause = f"{replay.source.machine} replayed to instance={wanted}, but {condition}"
    fails_its_check = machine is not None and machine.state is MachineState.STARTED and not machine.healthy
    by_cookie = bool(trace.cookies_sent) and wanted not in trace.target
    if by_cookie:
        verb = "refer to" if fails_its_check else "still refer to"
        cause += f"; the client's cookies ({', '.join(trace.cookies_sent)}) {verb} it"
    advice = (
        "use prefer_instance instead of instance, "
        "or add timeout and fallback=force_self and clear the cookie there"
    )
    return Finding(
        "stale-cookie" if by_cookie else "lost-target",
        cause,
        Fix(
            f"find out why its health check fails; {advice}" if fails_its_check else advice,
            *(corrected(replay.source.replay, "instance=", "prefer_instance=") or ()),
        ),
        trace.request_id,
        ("F-1.2", "F-6.54"),
        replay_evidence(trace, part=wanted),
    )


def find_foreign_instance(trace: Trace, fleet: Fleet) -> Finding | None:
    """A replay to a machine of an app that the directive does not name (F-1.16, K-10)."""
    replay = _find_lost_replay(trace)
    machine = fleet.find(replay.directive.instance or "") if replay is not None else None
    if replay is None or machine is None or machine.app == replay.app:
        return None
    named = f"app={replay.directive.app};" if replay.directive.app else ""
    right = f"app={machine.app};instance={machine.id}"
    return Finding(
        "foreign-instance",
        f"{replay.source.machine} replayed to instance={machine.id} in app {replay.app}, "
        f"but that is {machine.name} of {machine.app}",
        Fix(
            f"name the machine's app in the directive too: {right}",
            *(corrected(replay.source.replay, f"{named}instance={machine.id}", right) or ()),
        ),
        trace.request_id,
        ("F-1.16", "K-10"),
        replay_evidence(trace, part=machine.id),
    )


def _condition(machine: Machine) -> str:
    if machine.state is not MachineState.STARTED:
        return machine.state.value
    return "cordoned" if machine.cordoned else "failing its health checks"


def _find_lost_replay(trace: Trace) -> LostReplay | None:
    if trace.error not in ("PR03", "PR04") or not trace.hops:
        return None
    directive = read_replay(trace.hops[-1])
    return LostReplay(trace.hops[-1], directive) if directive is not None else None


def find_empty_region(trace: Trace, fleet: Fleet) -> Finding | None:
    """A replay to regions without a machine of the app (gallery 8; F-1.20, F-1.21)."""
    replay = _find_lost_replay(trace)
    if replay is None or not replay.directive.regions or replay.directive.instance:
        return None
    excluded = replay.source.machine_id if replay.directive.elsewhere else None
    machines = [m for m in fleet.of_app(replay.app) if m.is_candidate and m.id != excluded]
    there = sorted({machine.region for machine in machines})
    if any((codes := members(region)) is None or codes & set(there) for region in replay.directive.regions):
        return None  # There are machines, but they refuse connections or are full.
    regions = ",".join(replay.directive.regions)
    return Finding(
        "empty-region",
        f"{replay.source.machine} replayed to region={regions}, "
        f"but the machines of {replay.app} that could respond are in: {', '.join(there) or 'no region'}",
        Fix(
            'name a region that has machines, or append any, as in region="sjc,any"',
            *(corrected(replay.source.replay, f"region={regions}", f'region="{regions},any"') or ()),
        ),
        trace.request_id,
        ("F-1.20", "F-1.21"),
        replay_evidence(trace, part=regions),
    )


def find_broken_directive(trace: Trace, fleet: Fleet) -> Finding | None:
    """A `fly-replay` value that cannot be parsed (F-1.17)."""
    if trace.error != "PA03" or _fell_back(trace):
        return None
    hop = trace.hops[-1]
    return Finding(
        "broken-directive",
        f"{hop.machine} responded with {quote_replay(hop, exactly=True)}, which Fly cannot parse: {trace.message}",
        Fix(
            "write key=value pairs separated by ';', as in fly-replay: region=sjc;state=checkout; "
            'or, with the replay content type, a JSON object such as {"region": "sjc", "state": "checkout"}'
        ),
        trace.request_id,
        ("F-1.17",),
        replay_evidence(trace),
    )


def find_replayed_fallback(trace: Trace, fleet: Fleet) -> Finding | None:
    """A machine that replays a request that a fallback returned to it (gallery 30, F-1.56)."""
    if trace.error != "PA03" or not _fell_back(trace):
        return None
    hop = trace.hops[-1]
    return Finding(
        "replayed-fallback",
        f"a replay failed and its fallback returned the request, but {hop.machine} responded "
        f"with {quote_replay(hop)} again",
        Fix("serve a request that carries fly-replay-failed, or respond with your own error"),
        trace.request_id,
        ("F-1.56",),
        replay_evidence(trace),
    )


def _fell_back(trace: Trace) -> bool:
    return any(hop.cause is Cause.FALLBACK for hop in trace.hops)


def find_unknown_app(trace: Trace, fleet: Fleet) -> Finding | None:
    """A replay to an app that does not exist here (F-1.63)."""
    if trace.error != "PA04":
        return None
    hop = trace.hops[-1]
    directive = read_replay(hop)
    return Finding(
        "unknown-app",
        f"{hop.machine} responded with {quote_replay(hop)}; the apps here are {', '.join(fleet.apps)}",
        Fix(
            "correct the name, or add the app to flysim.toml; a ',' instead of a ';' becomes part of the name"
        ),
        trace.request_id,
        ("F-1.63",),
        replay_evidence(trace, part=directive.app if directive else None),
    )


def find_large_body(trace: Trace, fleet: Fleet) -> Finding | None:
    """A request that the proxy had to resend although its body is over the limit (gallery 15, F-1.32, F-5.46)."""
    if trace.error != "PA01":
        return None
    hop = trace.hops[-1]
    what = "replayed" if hop.replay is not None else "could not be reached for"
    return Finding(
        "large-body",
        f"{hop.machine} {what} a {trace.method} request with a body of more than 1 MB, "
        "the most that Fly buffers for a replay or retry",
        Fix(
            "find the machine with a small request first, then send the body with fly-force-instance-id, "
            "or upload directly to storage"
        ),
        trace.request_id,
        ("F-1.32", "F-5.46"),
        replay_evidence(trace) if hop.replay is not None else failure_evidence(trace),
    )


def find_negotiated_upgrade(trace: Trace, fleet: Fleet) -> Finding | None:
    """A 101 that carries a replay (gallery 12, F-1.86)."""
    for position, hop in enumerate(trace.hops):
        if hop.replay is not None and hop.status == 101:
            return Finding(
                "negotiated-upgrade",
                f"{hop.machine} accepted the WebSocket (101) and requested a replay in the same response",
                Fix("send the replay before the framework accepts the handshake, with any status except 101"),
                trace.request_id,
                ("F-1.86",),
                replay_evidence(trace, position),
            )
    return None


def find_doubtful_directive(trace: Trace, fleet: Fleet) -> Finding | None:
    """A directive that the proxy accepts but that is probably a mistake: an unknown or duplicate field (gallery 9)."""
    doubts = [warning for warning in trace.warnings if warning.startswith(("unknown field", "field"))]
    if not doubts:
        return None
    replayed = [position for position, hop in enumerate(trace.hops) if hop.replay is not None]
    return Finding(
        "doubtful-directive",
        f"in the fly-replay value, {'; '.join(doubts)}: the request may have reached another machine than intended",
        Fix("use only region, instance, prefer_instance, app, state, elsewhere, timeout and fallback"),
        trace.request_id,
        ("K-9",),
        replay_evidence(trace, replayed[0]) if len(replayed) == 1 else Evidence(),
    )


def find_refused_connection(trace: Trace, fleet: Fleet) -> Finding | None:
    """A started machine that does not listen on the internal port of its service (F-6.16)."""
    for position, hop in enumerate(trace.hops):
        if hop.failure is not None and "[PC01]" in hop.failure:
            connections = f"{hop.attempts} connections" if hop.attempts > 1 else "1 connection"
            return Finding(
                "refused-connection",
                f"{hop.machine} refused {connections}: {hop.failure}",
                _fix_unless_fault(hop, "make the app listen on 0.0.0.0 at the internal_port of its service"),
                trace.request_id,
                ("F-6.16",),
                failure_evidence(trace, position),
            )
    return None


def find_broken_answer(trace: Trace, fleet: Fleet) -> Finding | None:
    """A machine that closed the connection or sent invalid HTTP, before or after the head (F-5.45, F-6.12, F-6.15)."""
    is_cut = trace.outcome is Outcome.BROKEN and trace.error is None
    if not is_cut and trace.error != "PU02":
        return None
    hop = trace.hops[-1]
    if is_cut:
        cause = f"{hop.machine} closed the connection in the middle of its response"
    else:
        cause = f"{hop.machine} received the request and sent no valid response: {hop.failure}"
    return Finding(
        "broken-answer",
        cause,
        _fix_unless_fault(hop, "check the machine's last log lines: it may have crashed or been stopped"),
        trace.request_id,
        ("F-5.45", "F-6.12"),
        failure_evidence(trace),
    )


def _fix_unless_fault(hop: Hop, usual: str) -> Fix:
    """An injected fault is not an error of the app."""
    fault = next((note for note in (hop.note or "").split("; ") if note.startswith(f"{FAULT}: ")), None)
    return Fix(f"heal the {fault}" if fault else usual)


RULES: tuple[Rule, ...] = (
    find_self_replay,
    find_replay_loop,
    find_lost_target,
    find_foreign_instance,
    find_empty_region,
    find_broken_directive,
    find_replayed_fallback,
    find_unknown_app,
    find_large_body,
    find_negotiated_upgrade,
    find_doubtful_directive,
    find_refused_connection,
    find_broken_answer,
)

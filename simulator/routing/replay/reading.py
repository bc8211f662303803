"""From a response to the replay that it asks for, in either form, or to why there is none (facts 1.1, 1.10, 1.11)."""

from __future__ import annotations

from dataclasses import replace

from simulator.routing.cache.caching import read_instruction
from simulator.routing.headers import FLY_REPLAY, find_field
from simulator.routing.model import Fleet, Machine, Request, Response
from simulator.routing.options import RoutingOptions
from simulator.routing.regions import ALIASES, ANY, is_region
from simulator.routing.replay.body import MAX_BYTES, ReplayBody, is_replay_body, parse_replay_body
from simulator.routing.replay.directive import DirectiveError, ReplayDirective, parse_directive

_TWO_FORMS = "the response has both a fly-replay header and a replay body: only one of them counts (K-11)"


def has_body_form(response: Response, options: RoutingOptions) -> bool:
    """Whether the response's body says where to (F-1.75); the header form may be made to go before it (K-11)."""
    if not is_replay_body(find_field(response.fields, b"content-type"), strict=options.strict_content_type):
        return False
    return not (options.prefer_header_form and find_field(response.fields, FLY_REPLAY) is not None)


def is_honoured(response: Response, request: Request, options: RoutingOptions) -> bool:
    """Whether a response that carries a replay is one; else it is passed on (K-13, K-42, K-43)."""
    if options.location_beats_replay and 300 <= response.status < 400:
        return find_field(response.fields, b"location") is None
    if not options.replay_over_flycast and request.hostname.endswith(".flycast"):
        return False
    if options.websocket_replay == "any" or find_field(request.fields, b"upgrade") is None:
        return True
    return (response.status == 101) is (options.websocket_replay == "only_101")


def read_header_form(response: Response, options: RoutingOptions) -> ReplayBody:
    """Raises DirectiveError."""
    directive = parse_directive(
        find_field(response.fields, FLY_REPLAY) or "",
        lenient_region_list=options.lenient_region_list,
        bare_milliseconds=options.timeout_without_unit == "milliseconds",
    )
    both = options.prefer_header_form and is_replay_body(find_field(response.fields, b"content-type"))
    return ReplayBody(
        directive, cache=read_instruction(response.fields), warnings=(_TWO_FORMS,) if both else ()
    )


def read_body_form(response: Response, body: bytes | None, options: RoutingOptions) -> ReplayBody:
    """`body` is None where it was too large or did not come whole. Raises DirectiveError."""
    if body is None:
        raise DirectiveError(f"the replay body did not come whole, or is larger than {MAX_BYTES} bytes")
    replay = parse_replay_body(body, options)
    both = find_field(response.fields, FLY_REPLAY) is not None
    return replace(replay, warnings=(*replay.warnings, _TWO_FORMS)) if both else replay


def check(directive: ReplayDirective, source: Machine, fleet: Fleet, options: RoutingOptions) -> None:
    """What may be valid grammar but is refused by choice. Raises DirectiveError (K-9, K-10, K-30)."""
    if options.strict_fields and directive.warnings:
        raise DirectiveError(directive.warnings[0])
    if options.foreign_instance == "refuse" and (problem := foreign_instance(directive, source, fleet)):
        raise DirectiveError(problem)
    if options.unknown_region == "refuse":
        for region in directive.regions:
            if (
                region != ANY
                and region not in ALIASES
                and region not in options.aliases
                and not is_region(region)
            ):
                raise DirectiveError(f"there is no region {region!r}")


def foreign_instance(directive: ReplayDirective, source: Machine, fleet: Fleet) -> str | None:
    """A combination that is not valid and that nothing can match (F-1.16, K-10)."""
    machine, app = fleet.find(directive.instance or ""), directive.app or source.app
    if machine is None or machine.app == app:
        return None
    return f"instance={machine.id} is a machine of app {machine.app}, not of {app}: nothing can match"

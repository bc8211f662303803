"""Reading and checking the replay of a response: which form it has, whether it is valid, where it may go.

Sources: facts 1.1, 1.9, 1.10 and 1.11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from simulator.routing import errors
from simulator.routing.cache.caching import read_instruction
from simulator.routing.client_header import FORCE_INSTANCE
from simulator.routing.errors import ProxyError
from simulator.routing.headers import FLY_REPLAY, find_field
from simulator.routing.model import App, Fleet, Machine, Request, Response
from simulator.routing.options import RoutingOptions
from simulator.routing.regions import ALIASES, ANY, is_region
from simulator.routing.replay.body import MAX_BYTES, ReplayBody, is_replay_body, parse_replay_body
from simulator.routing.replay.directive import DirectiveError, ReplayDirective, parse_directive

_TWO_FORMS = "the response has both a fly-replay header and a replay body: only one of them is used (K-11)"


def has_body_form(response: Response, options: RoutingOptions) -> bool:
    """Whether the replay is in the response body (F-1.75); the header form can take precedence (K-11)."""
    if not is_replay_body(find_field(response.fields, b"content-type"), strict=options.strict_content_type):
        return False
    return not (options.prefer_header_form and find_field(response.fields, FLY_REPLAY) is not None)


def is_honored(response: Response, request: Request, options: RoutingOptions) -> bool:
    """Whether the replay of a response is carried out; if not, the response is relayed (K-13, K-42, K-43)."""
    if options.location_beats_replay and 300 <= response.status < 400:
        return find_field(response.fields, b"location") is None
    if not options.replay_over_flycast and request.hostname.endswith(".flycast"):
        return False
    if options.websocket_replay == "any" or find_field(request.fields, b"upgrade") is None:
        return True
    return (response.status == 101) is (options.websocket_replay == "only_101")


def read_header_form(response: Response, options: RoutingOptions) -> ReplayBody:
    """Read the replay from the headers. Raises DirectiveError."""
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
    """Read the replay from the body, which is None if it is incomplete or too large. Raises DirectiveError."""
    if body is None:
        raise DirectiveError(f"the replay body is incomplete or larger than {MAX_BYTES} bytes")
    replay = parse_replay_body(body, options)
    both = find_field(response.fields, FLY_REPLAY) is not None
    return replace(replay, warnings=(*replay.warnings, _TWO_FORMS)) if both else replay


def check(directive: ReplayDirective, source: Machine, fleet: Fleet, options: RoutingOptions) -> None:
    """Refuse what the grammar allows but the options do not. Raises DirectiveError (K-9, K-10, K-30)."""
    if options.strict_fields and directive.warnings:
        raise DirectiveError(directive.warnings[0])
    if options.foreign_instance == "refuse" and (problem := _find_foreign_instance(directive, source, fleet)):
        raise DirectiveError(problem)
    if options.unknown_region == "refuse":
        for region in directive.regions:
            if (
                region != ANY
                and region not in ALIASES
                and region not in options.aliases
                and not is_region(region)
            ):
                raise DirectiveError(f"region {region!r} does not exist")


def find_warnings(
    replay: ReplayBody,
    response: Response,
    request: Request,
    source: Machine,
    fleet: Fleet,
    options: RoutingOptions,
) -> list[str]:
    """What the proxy accepts but is probably a mistake."""
    warnings = [*replay.directive.warnings, *replay.warnings]
    if foreign := _find_foreign_instance(replay.directive, source, fleet):
        warnings.append(foreign)
    if response.status == 101:
        warnings.append("the app accepted the upgrade and replayed: Fly asks apps not to do that (F-1.86)")
    named = replay.directive.instance
    forced = find_field(request.fields, FORCE_INSTANCE) if named else None
    if forced and forced != named:  # K-14
        winner = "the client's" if options.client_headers_win else "the replay's"
        warnings.append(
            f"the client forces machine {forced}, the replay names {named}: {winner} is used (K-14)"
        )
    return warnings


def _find_foreign_instance(directive: ReplayDirective, source: Machine, fleet: Fleet) -> str | None:
    """An instance of another app than the target, which no machine can match (F-1.16, K-10)."""
    machine, app = fleet.find(directive.instance or ""), directive.app or source.app
    if machine is None or machine.app == app:
        return None
    return f"instance={machine.id} is a machine of app {machine.app}, not of {app}: no machine can match"


def find_permission_error(
    apps: Mapping[str, App], source: str, target: str | None, options: RoutingOptions
) -> ProxyError | None:
    """Why a machine of app `source` may not replay to app `target`; None if it may (F-1.63, F-1.68 to F-1.72)."""
    if target is None or target == source:
        return None
    if target not in apps:
        return errors.app_not_found(source, target)
    source_app, target_app = apps[source], apps[target]
    if source_app.org != target_app.org:
        is_listed = source_app.org in target_app.replay_sources
        return None if is_listed else errors.not_permitted(source, target)
    if source_app.network != target_app.network and source_app.org not in options.cross_network_replays:
        return errors.cross_network(source, target)
    return None

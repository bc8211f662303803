"""Checks of a response and its trace against `expect:`; each expectation that does not hold becomes a `Mismatch`.

One function per key of `expect:`, in the table `CHECKS`. `logs` and `findings` are checked in `ScenarioContext`: they
need the simulator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from simulator.config.duration import format_duration
from simulator.results import ClientResponse, Mismatch
from simulator.scenario.client.cookie import CookieError, SetCookie, parse_set_cookie
from simulator.scenario.expectations.match import (
    describe_match,
    format_json,
    is_match,
    json_mismatches,
    quote,
    text_mismatches,
)
from simulator.scenario.expectations.schema import CookieMatch, Expectation, HeaderMatch, TextMatch
from simulator.scenario.names import NameResolver

Check = Callable[[Any, ClientResponse, NameResolver], Iterable[Mismatch]]


def _status(expected: list[int], response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    if response.status not in expected:
        actual = (
            response.failure_text
            if response.status is None
            else f"{response.status}{_describe_redirects(response)}"
        )
        yield Mismatch("status", " or ".join(map(str, expected)), actual)


def _describe_redirects(response: ClientResponse) -> str:
    """Return ` (1 redirect followed)`, or an empty string if there were no redirects to follow."""
    notes = []
    if response.redirects:
        notes.append(f"{response.redirects} redirect{'s' if response.redirects > 1 else ''} followed")
    if response.not_followed:
        notes.append(f"{'next one ' if response.redirects else ''}not followed: {response.not_followed}")
    return f" ({', '.join(notes)})" if notes else ""


def _error(expected: str, response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    code = response.failure or (response.trace.error if response.trace else None) or "none"
    if code != expected:
        message = response.failure_text or (response.trace.message if response.trace else None)
        yield Mismatch("error", expected, f"{code} ({message})" if message else code)


def _served_by(expected: list[str], response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    trace = response.trace
    served = trace.hops[-1].machine_id if trace and trace.served_by else None
    if served not in [_machine_id(key, names) for key in expected] and not (
        served is None and "none" in expected
    ):
        actual = names.name_of(served) if served else "none: the proxy sent the response itself"
        yield Mismatch("served_by", " or ".join(_format_machine(key, names) for key in expected), actual)


def _path(expected: list[str], response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    actual = [hop.machine_id for hop in response.trace.hops] if response.trace else []
    if actual != [_machine_id(key, names) for key in expected]:
        yield Mismatch(
            "path",
            " → ".join(_format_machine(key, names) for key in expected) or "no machine",
            " → ".join(names.name_of(key) for key in actual) or "no machine",
        )


def _machine_id(key: str, names: NameResolver) -> str:
    machine = names.find_machine(key)
    return machine.id if machine else key


def _format_machine(key: str, names: NameResolver) -> str:
    machine = names.find_machine(key)
    if machine is None:
        return key if key == "none" else f"{key} (no machine has that name)"
    return key if key in (machine.name, f"{machine.app}/{machine.name}") else f"{key} ({machine.name})"


def _hops(expected: int, response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    actual = len(response.trace.hops) if response.trace else 0
    if actual != expected:
        yield Mismatch("hops", str(expected), str(actual))


def _headers(
    expected: dict[str, HeaderMatch], response: ClientResponse, names: NameResolver
) -> Iterator[Mismatch]:
    for name, match in expected.items():
        values = response.header_values(name)
        what = f"header {name}"
        if match.absent:
            if values:
                yield Mismatch(what, "absent", quote(", ".join(values)))
        elif not values:
            yield Mismatch(what, describe_match(match), "absent")
        elif not any(is_match(match, value) for value in values):
            yield from text_mismatches(what, match, values[0] if len(values) == 1 else ", ".join(values))


def _set_cookie(
    expected: dict[str, CookieMatch], response: ClientResponse, names: NameResolver
) -> Iterator[Mismatch]:
    cookies = {cookie.name: cookie for cookie in _parse_cookies(response)}
    for name, match in expected.items():
        what, cookie = f"set_cookie {name}", cookies.get(name)
        if match.absent:
            if cookie is not None:
                yield Mismatch(what, "absent", quote(cookie.value))
        elif cookie is None:
            yield Mismatch(
                what, describe_match(match) or "set", f"not set; cookies set: {', '.join(cookies) or 'none'}"
            )
        else:
            yield from text_mismatches(what, match, cookie.value)
            yield from _attribute_mismatches(what, match, cookie)


def _parse_cookies(response: ClientResponse) -> Iterator[SetCookie]:
    for value in response.header_values("set-cookie"):
        try:
            yield parse_set_cookie(value)
        except CookieError:
            continue


def _attribute_mismatches(what: str, match: CookieMatch, cookie: SetCookie) -> Iterator[Mismatch]:
    actual = {
        "path": cookie.path,
        "domain": cookie.domain,
        "max_age": cookie.max_age_seconds,
        "secure": cookie.secure,
        "http_only": cookie.http_only,
        "same_site": cookie.same_site,
    }
    for attribute, value in actual.items():
        wanted = getattr(match, attribute)
        if wanted is not None and wanted != value:
            yield Mismatch(f"{what}, {attribute}", _format_attribute(wanted), _format_attribute(value))


def _format_attribute(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g} s" if isinstance(value, int | float) else str(value)


def _body(expected: TextMatch, response: ClientResponse, names: NameResolver) -> Iterable[Mismatch]:
    return text_mismatches("body", expected, response.text)


def _json_body(expected: Any, response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    try:
        actual = json.loads(response.body)
    except ValueError:
        yield Mismatch("json", format_json(expected), f"not JSON: {quote(response.text)}")
    else:
        yield from json_mismatches("json", expected, actual)


def _cookies_sent(expected: list[str], response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    if sorted(expected) != sorted(response.cookies_sent):
        kept = "".join(f"; not sent: {cookie}" for cookie in response.withheld)
        yield Mismatch("cookies_sent", _joined(expected), f"{_joined(response.cookies_sent)}{kept}")


def _cookies_withheld(
    expected: dict[str, TextMatch], response: ClientResponse, names: NameResolver
) -> Iterator[Mismatch]:
    reasons = {cookie.name: cookie.reason for cookie in response.withheld}
    for name, match in expected.items():
        what = f"cookies_withheld {name}"
        if name in reasons:
            yield from text_mismatches(what, match, reasons[name])
        else:
            actual = "sent" if name in response.cookies_sent else "the client has no such cookie"
            yield Mismatch(what, describe_match(match), actual)


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _within(expected: float, response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    if response.elapsed_seconds > expected:
        yield Mismatch("within", format_duration(expected), f"{response.elapsed_seconds:.3g}s")


def _subprotocol(expected: str, response: ClientResponse, names: NameResolver) -> Iterator[Mismatch]:
    if response.subprotocol != expected:
        yield Mismatch("subprotocol", expected, response.subprotocol or "none")


CHECKS: dict[str, Check] = {
    "status": _status,
    "error": _error,
    "served_by": _served_by,
    "path": _path,
    "hops": _hops,
    "set_cookie": _set_cookie,
    "cookies_sent": _cookies_sent,
    "cookies_withheld": _cookies_withheld,
    "headers": _headers,
    "body": _body,
    "json_": _json_body,
    "subprotocol": _subprotocol,
    "within": _within,
}
NEEDS_TRACE = frozenset({"served_by", "path", "hops"})
NEEDS_RESPONSE = frozenset({"set_cookie", "headers", "body", "json_"})


def find_mismatches(expect: Expectation, response: ClientResponse, names: NameResolver) -> list[Mismatch]:
    """Return every expectation that does not hold, in the order of `CHECKS`."""
    found: list[Mismatch] = []
    for key, check in CHECKS.items():
        expected = getattr(expect, key, None)
        if expected is None:
            continue
        if key in NEEDS_TRACE and response.trace is None:
            found.append(Mismatch(key, str(expected), f"no trace: {_explain_missing_trace(response)}"))
        elif key in NEEDS_RESPONSE and response.status is None:
            found.append(Mismatch(key.rstrip("_"), "a response", response.failure_text))
        else:
            found += check(expected, response, names)
    return found


def _explain_missing_trace(response: ClientResponse) -> str:
    if response.status is None:
        return response.failure_text
    if response.request_id is None:
        return "the response did not come through the proxy"
    return "it is not in the journal"

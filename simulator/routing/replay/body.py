"""Parser of the JSON replay body: target, request transform and cache instruction (facts 1.10)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from simulator.routing.cache.replay_cache import CacheInstruction
from simulator.routing.headers import FLY_REPLAY, HOP_BY_HOP, PROXY_ONLY
from simulator.routing.model import Fields
from simulator.routing.options import RoutingOptions
from simulator.routing.replay.directive import (
    DirectiveError,
    ReplayDirective,
    check_control_characters,
    parse_duration,
    parse_fallback,
    parse_regions,
)

CONTENT_TYPE = "application/vnd.fly.replay+json"
"""F-1.75"""
MAX_BYTES = 1024 * 1024
"""Maximum size of a replay body; Fly documents no limit."""

# RFC 9110, 5.6.2 and 5.5; RFC 9112, 3.2.1
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+\-.^_`|~]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%]+)(?::[0-9]*)?")
_PROTECTED = HOP_BY_HOP | PROXY_ONLY | {b"transfer-encoding", b"content-length"}

_TEXTS = ("instance", "prefer_instance", "app", "state")
_KNOWN = frozenset(
    {*_TEXTS, "region", "elsewhere", "timeout", "fallback", "transform", "cache", "allow_bypass"}
)


@dataclass(frozen=True, slots=True)
class Transform:
    """Changes to the request before it is sent to the target (F-1.77 to F-1.79)."""

    path: str | None = None
    """New path and query."""
    delete_headers: tuple[str, ...] = ()
    set_headers: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def apply(self, fields: Fields, *, set_first: bool = False) -> Fields:
        """Delete headers, then set headers, or in reverse order (K-40)."""
        deleted = {name.lower().encode() for name in self.delete_headers}
        gone = deleted | {name.lower().encode() for name, _ in self.set_headers}
        new = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.set_headers)
        if set_first:
            new = tuple(field for field in new if field[0].lower() not in deleted)
        return (*(field for field in fields if field[0].lower() not in gone), *new)


@dataclass(frozen=True, slots=True)
class ReplayBody:
    """A parsed replay. The header form has a directive and maybe a cache instruction, but no transform."""

    directive: ReplayDirective
    transform: Transform | None = None
    cache: CacheInstruction | None = None
    warnings: tuple[str, ...] = ()
    """Warnings in addition to those of the directive."""


def is_replay_body(content_type: str | None, *, strict: bool = False) -> bool:
    """Whether a `Content-Type` is that of a replay body; parameters are accepted unless `strict` (K-41)."""
    if content_type is None:
        return False
    kind, parameters, _ = content_type.partition(";")
    return kind.strip().lower() == CONTENT_TYPE and not (strict and parameters)


def parse_replay_body(body: bytes, options: RoutingOptions) -> ReplayBody:
    """Parse a replay body. Raises DirectiveError with what was read and what was expected (F-1.84)."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DirectiveError(f"the replay body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise DirectiveError(f"the replay body is {_describe(data)}, expected an object")
    warnings = [f"unknown field {key!r} is ignored" for key in data if key not in _KNOWN]
    transform = _parse_transform(_section(data, "transform"))
    directive = ReplayDirective(
        regions=parse_regions(_text(data, "region"), lenient=True),  # F-1.11: no inner quotes
        **{key: _text(data, key) for key in _TEXTS},
        elsewhere=_flag(data, "elsewhere"),
        timeout_seconds=parse_duration(
            _text(data, "timeout"), bare_milliseconds=options.timeout_without_unit == "milliseconds"
        ),
        fallback=parse_fallback(_text(data, "fallback")),
        warnings=tuple(warnings),
    )
    cache = _parse_cache(data, options.allow_bypass_place)
    return ReplayBody(directive, transform, cache, transform.warnings if transform else ())


def _parse_transform(data: dict[str, Any] | None) -> Transform | None:
    if data is None:
        return None
    path = _text(data, "path")
    if path is not None and not _PATH.fullmatch(path):
        raise DirectiveError(f"transform.path is {path!r}, expected a path that starts with '/'")
    delete_headers = [_name(name, "delete_headers") for name in _items(data, "delete_headers")]
    set_headers = [_header(item) for item in _items(data, "set_headers")]
    warnings = [
        f"transform cannot change the header {name!r}: it is left unchanged (K-40)"
        for name in [*delete_headers, *(name for name, _ in set_headers)]
        if _is_protected(name)
    ]
    if any(name.lower() == "host" for name in delete_headers):
        warnings.append("transform cannot delete the header 'host': a request has exactly one")
    hosts = [header for header in set_headers if header[0].lower() == "host"]
    others = [header for header in set_headers if header[0].lower() != "host"]
    if len(hosts) > 1:
        warnings.append(f"transform sets 'host' {len(hosts)} times: the last one counts")
    return Transform(
        path,
        tuple(name for name in delete_headers if not _is_protected(name) and name.lower() != "host"),
        (*(header for header in others if not _is_protected(header[0])), *hosts[-1:]),
        tuple(warnings),
    )


def _is_protected(name: str) -> bool:
    """Hop-by-hop headers, headers of the body's framing, and those that only the proxy sets (K-40)."""
    lower = name.lower().encode()
    return lower in _PROTECTED or lower.startswith(FLY_REPLAY)


def _parse_cache(data: dict[str, Any], accepted_place: str) -> CacheInstruction | None:
    """`allow_bypass` is inside `cache` or at the top level (F-1.81, K-12)."""
    cache = _section(data, "cache")
    if cache is None:
        return None
    ttl = cache.get("ttl")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int)):
        raise DirectiveError(f"cache.ttl is {_describe(ttl)}, expected a number of seconds")
    if ttl is not None and abs(ttl) >= 10**9:
        raise DirectiveError("cache.ttl has more than nine digits")
    return CacheInstruction(
        prefix=_text(cache, "prefix"),
        ttl_seconds=ttl,
        allow_bypass=(accepted_place != "top" and _flag(cache, "allow_bypass"))
        or (accepted_place != "cache" and _flag(data, "allow_bypass")),
        invalidate=_flag(cache, "invalidate"),
    )


def _section(data: dict[str, Any], key: str) -> dict[str, Any] | None:
    section = data.get(key)
    if section is not None and not isinstance(section, dict):
        raise DirectiveError(f"{key} is {_describe(section)}, expected an object")
    return section


def _text(data: dict[str, Any], key: str) -> str | None:
    text = data.get(key)
    if text is not None and not isinstance(text, str):
        raise DirectiveError(f"{key} is {_describe(text)}, expected a string")
    if text == "" and key != "state":
        raise DirectiveError(f"{key} is empty")
    if text is not None:
        check_control_characters(key, text)
    # Header fields are bytes decoded as Latin-1; the app's text is sent as UTF-8.
    return text.encode("utf-8", "replace").decode("latin-1") if text is not None else None


def _flag(data: dict[str, Any], key: str) -> bool:
    flag = data.get(key, False)
    if not isinstance(flag, bool):
        raise DirectiveError(f"{key} is {_describe(flag)}, expected true or false")
    return flag


def _items(data: dict[str, Any], key: str) -> list[Any]:
    items = data.get(key) or []
    if not isinstance(items, list):
        raise DirectiveError(f"transform.{key} is {_describe(items)}, expected a list")
    return items


def _header(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict) or not isinstance(item.get("value"), str):
        raise DirectiveError(
            'transform.set_headers has an invalid item, expected an object such as {"name": "x-user", "value": "7"}'
        )
    value = item["value"]
    if not _VALUE.fullmatch(value):
        raise DirectiveError(f"transform.set_headers has {value!r}, which is not a valid header value")
    name = _name(item.get("name"), "set_headers")
    if name.lower() == "host" and not _HOST.fullmatch(value.strip(" \t")):
        raise DirectiveError(
            f"transform.set_headers has the host {value!r}, expected a host and an optional port"
        )
    return name, value.strip(" \t")


def _name(name: Any, key: str) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise DirectiveError(f"transform.{key} has {name!r}, expected a header name")
    return name


def _describe(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}.get(
        type(value), repr(value)
    )

"""The JSON form of a replay: a response body that says where to, how the request changes, and what to cache (1.10)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from simulator.routing.cache.replay_cache import CacheInstruction
from simulator.routing.headers import FLY_REPLAY, ONLY_FROM_THE_PROXY, PER_CONNECTION
from simulator.routing.model import Fields
from simulator.routing.options import RoutingOptions
from simulator.routing.replay.directive import (
    DirectiveError,
    ReplayDirective,
    parse_duration,
    parse_fallback,
    parse_regions,
)

CONTENT_TYPE = "application/vnd.fly.replay+json"
"""F-1.75"""
MAX_BYTES = 1024 * 1024
"""How much of a replay body is read; Fly names no bound."""

# RFC 9110, 5.6.2 and 5.5; RFC 9112, 3.2.1
_TOKEN = re.compile(r"[0-9A-Za-z!#$%&'*+\-.^_`|~]+")
_VALUE = re.compile(r"[\t\x20-\x7e]*")
_PATH = re.compile(r"/[\x21-\x7e]*")
_PROTECTED = PER_CONNECTION | ONLY_FROM_THE_PROXY | {b"transfer-encoding", b"content-length"}

_TEXTS = ("instance", "prefer_instance", "app", "state")
_KNOWN = frozenset(
    {*_TEXTS, "region", "elsewhere", "timeout", "fallback", "transform", "cache", "allow_bypass"}
)


@dataclass(frozen=True, slots=True)
class Transform:
    """How the request changes before the target sees it (F-1.77 to F-1.79)."""

    path: str | None = None
    """New path and query."""
    delete_headers: tuple[str, ...] = ()
    set_headers: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def apply(self, fields: Fields, *, set_first: bool = False) -> Fields:
        """Delete, then set, or the other way round (K-40)."""
        deleted = {name.lower().encode() for name in self.delete_headers}
        gone = deleted | {name.lower().encode() for name, _ in self.set_headers}
        new = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in self.set_headers)
        if set_first:
            new = tuple(field for field in new if field[0].lower() not in deleted)
        return (*(field for field in fields if field[0].lower() not in gone), *new)


@dataclass(frozen=True, slots=True)
class ReplayBody:
    """A whole replay body."""

    directive: ReplayDirective
    transform: Transform | None = None
    cache: CacheInstruction | None = None
    warnings: tuple[str, ...] = ()
    """What does nothing, beside what the directive itself has to say."""


def is_replay_body(content_type: str | None, *, strict: bool = False) -> bool:
    """Whether a response's `Content-Type` announces a replay body; with parameters, too, unless `strict` (K-41)."""
    if content_type is None:
        return False
    kind, parameters, _ = content_type.partition(";")
    return kind.strip().lower() == CONTENT_TYPE and not (strict and parameters)


def parse_replay_body(body: bytes, options: RoutingOptions) -> ReplayBody:
    """Raises DirectiveError, whose text says what was read and expected (F-1.84)."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DirectiveError(f"the replay body is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise DirectiveError(f"the replay body is {_kind(data)}, expected an object")
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
        raise DirectiveError(f"transform.path is {path!r}, expected a path that begins with '/'")
    deleted = [_name(name, "delete_headers") for name in _items(data, "delete_headers")]
    written = [_header(item) for item in _items(data, "set_headers")]
    warnings = [
        f"transform may not change the header {name!r}: it is left as it is (K-40)"
        for name in [*deleted, *(name for name, _ in written)]
        if _is_protected(name)
    ]
    return Transform(
        path,
        tuple(name for name in deleted if not _is_protected(name)),
        tuple((name, value) for name, value in written if not _is_protected(name)),
        tuple(warnings),
    )


def _is_protected(name: str) -> bool:
    """Headers of one connection, of the body's framing, and those that only the proxy may set (K-40)."""
    lower = name.lower().encode()
    return lower in _PROTECTED or lower.startswith(FLY_REPLAY)


def _parse_cache(data: dict[str, Any], place: str) -> CacheInstruction | None:
    """`allow_bypass` may stand inside `cache` or beside it (F-1.81, K-12)."""
    cache = _section(data, "cache")
    if cache is None:
        return None
    ttl = cache.get("ttl")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int)):
        raise DirectiveError(f"cache.ttl is {_kind(ttl)}, expected a number of seconds")
    if ttl is not None and abs(ttl) >= 10**9:
        raise DirectiveError("cache.ttl has more than nine digits")
    return CacheInstruction(
        prefix=_text(cache, "prefix"),
        ttl_seconds=ttl,
        allow_bypass=(place != "top" and _flag(cache, "allow_bypass"))
        or (place != "cache" and _flag(data, "allow_bypass")),
        invalidate=_flag(cache, "invalidate"),
    )


def _section(data: dict[str, Any], key: str) -> dict[str, Any] | None:
    section = data.get(key)
    if section is not None and not isinstance(section, dict):
        raise DirectiveError(f"{key} is {_kind(section)}, expected an object")
    return section


def _text(data: dict[str, Any], key: str) -> str | None:
    text = data.get(key)
    if text is not None and not isinstance(text, str):
        raise DirectiveError(f"{key} is {_kind(text)}, expected a text")
    if text == "" and key != "state":
        raise DirectiveError(f"{key} is empty")
    if text is not None and any(c < " " or c == "\x7f" for c in text):  # it goes into header fields
        raise DirectiveError(f"{key} has a control character in {text!r}")
    # Header fields are bytes, and kept as Latin-1; what the app wrote goes over the wire in UTF-8.
    return text.encode("utf-8", "replace").decode("latin-1") if text is not None else None


def _flag(data: dict[str, Any], key: str) -> bool:
    flag = data.get(key, False)
    if not isinstance(flag, bool):
        raise DirectiveError(f"{key} is {_kind(flag)}, expected true or false")
    return flag


def _items(data: dict[str, Any], key: str) -> list[Any]:
    items = data.get(key) or []
    if not isinstance(items, list):
        raise DirectiveError(f"transform.{key} is {_kind(items)}, expected a list")
    return items


def _header(item: Any) -> tuple[str, str]:
    if not isinstance(item, dict) or not isinstance(item.get("value"), str):
        raise DirectiveError('transform.set_headers takes objects such as {"name": "x-user", "value": "7"}')
    value = item["value"]
    if not _VALUE.fullmatch(value):
        raise DirectiveError(f"transform.set_headers has the value {value!r}, which no header can have")
    return _name(item.get("name"), "set_headers"), value


def _name(name: Any, key: str) -> str:
    if not isinstance(name, str) or not _TOKEN.fullmatch(name):
        raise DirectiveError(f"transform.{key} has {name!r}, expected the name of a header")
    return name


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}.get(
        type(value), repr(value)
    )

"""Parser of the `fly-replay` header.

The grammar is `key=value` pairs joined by `;`, with region lists in double quotes (F-1.9, F-1.10):

    directive = pair *( ";" pair )
    pair      = OWS key OWS "=" OWS ( value / DQUOTE list DQUOTE ) OWS
    list      = OWS item OWS *( "," OWS item OWS )

`state` is opaque: except for surrounding space it is kept as sent, including quotes (F-1.5, F-1.14).
Where Fly's documentation is silent, the strict interpretation is the default (K-7, K-8, K-9).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

FIELDS = ("region", "instance", "prefer_instance", "app", "state", "elsewhere", "timeout", "fallback")
"""F-1.1 to F-1.8."""

_SPACE = " \t"  # str.strip() would also remove 0xA0, which can be the last byte of a UTF-8 character
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Fallback(StrEnum):
    """Where a request goes if its replay fails (F-1.52)."""

    FORCE_SELF = "force_self"
    PREFER_SELF = "prefer_self"


class DirectiveError(ValueError):
    """The replay cannot be parsed; the proxy answers with PA03 (F-1.17)."""


@dataclass(frozen=True, slots=True)
class ReplayDirective:
    """A parsed directive. `regions` is in order of preference; empty means no restriction."""

    regions: tuple[str, ...] = ()
    instance: str | None = None
    prefer_instance: str | None = None
    app: str | None = None
    state: str | None = None
    elsewhere: bool = False
    timeout_seconds: float | None = None
    fallback: Fallback | None = None
    warnings: tuple[str, ...] = ()
    """Fields that were accepted but have no effect or are probably a mistake."""


def parse_directive(
    value: str, *, lenient_region_list: bool = False, bare_milliseconds: bool = False
) -> ReplayDirective:
    """Parse a `fly-replay` value. Raises DirectiveError with what was read and what was expected."""
    warnings: list[str] = []
    fields: dict[str, str] = {}
    for pair in split_pairs(value):
        key, text = _parse_pair(pair)
        if key not in FIELDS:
            warnings.append(f"unknown field {key!r} is ignored")
        elif key in fields:
            warnings.append(f"field {key!r} is given more than once: the last one counts")
        fields[key] = text
    if not fields:
        raise DirectiveError("the value is empty")
    return ReplayDirective(
        regions=parse_regions(fields.get("region"), lenient=lenient_region_list),
        instance=_parse_text("instance", fields),
        prefer_instance=_parse_text("prefer_instance", fields),
        app=_parse_text("app", fields),
        state=fields.get("state"),
        elsewhere=_parse_flag("elsewhere", fields),
        timeout_seconds=parse_duration(fields.get("timeout"), bare_milliseconds=bare_milliseconds),
        fallback=parse_fallback(fields.get("fallback")),
        warnings=tuple(warnings),
    )


def split_pairs(value: str) -> list[str]:
    """Split at each `;` outside double quotes and drop empty pairs (K-9)."""
    pairs: list[str] = []
    start, quoted = 0, False
    for position, character in enumerate(value):
        if character == '"':
            quoted = not quoted
        elif character == ";" and not quoted:
            pairs.append(value[start:position])
            start = position + 1
    if quoted:
        raise DirectiveError(f"unclosed double quote in {value!r}")
    pairs.append(value[start:])
    return [stripped for pair in pairs if (stripped := pair.strip(_SPACE))]


def _parse_pair(pair: str) -> tuple[str, str]:
    key, separator, text = pair.partition("=")
    if not separator:
        raise DirectiveError(f"{pair!r} is not key=value")
    key, text = key.strip(_SPACE), text.strip(_SPACE)
    if not key:
        raise DirectiveError(f"{pair!r} has no key before '='")
    check_control_characters(key, text)
    return key, text


def check_control_characters(key: str, text: str) -> None:
    """Raise DirectiveError if `text` has one: it ends up in header fields of the next delivery."""
    if _CONTROL.search(text):
        raise DirectiveError(f"{key} has a control character in {text!r}")


def _parse_text(key: str, fields: dict[str, str]) -> str | None:
    if key not in fields:
        return None
    if not (text := _unquote(key, fields[key])):
        raise DirectiveError(f"{key} is empty")
    return text


def _unquote(key: str, text: str) -> str:
    unquoted = text[1:-1] if text.startswith('"') and text.endswith('"') else text
    if '"' in unquoted:
        raise DirectiveError(f"{key} has a double quote inside {text!r}")
    return unquoted


def parse_regions(text: str | None, *, lenient: bool) -> tuple[str, ...]:
    if text is None:
        return ()
    unquoted = _unquote("region", text)
    if "," in unquoted and unquoted == text and not lenient:
        raise DirectiveError(f"the region list {text!r} must be in double quotes")
    regions = tuple(item.strip(_SPACE) for item in unquoted.split(","))
    if not all(regions):
        raise DirectiveError(f"region={text} has an empty region")
    return regions


def _parse_flag(key: str, fields: dict[str, str]) -> bool:
    text = fields.get(key, "false")
    if text not in ("true", "false"):
        raise DirectiveError(f"{key} is {text!r}, expected true or false")
    return text == "true"


def parse_duration(text: str | None, *, bare_milliseconds: bool = False) -> float | None:
    """Parse a timeout into seconds. A number without a unit is an error, or is in milliseconds (F-1.15, K-7)."""
    if text is None:
        return None
    if bare_milliseconds and text.isascii() and text.isdigit():
        text += "ms"
    match = _DURATION.fullmatch(text)
    if match is None:
        raise DirectiveError(f"timeout is {text!r}, expected a number with a unit, such as 10s or 500ms")
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def parse_fallback(text: str | None) -> Fallback | None:
    if text is None:
        return None
    try:
        return Fallback(text)
    except ValueError:
        raise DirectiveError(f"fallback is {text!r}, expected force_self or prefer_self") from None

"""Duration strings in Go's format: `15s`, `1m30s`, `500ms`.

The meaning of a number without a unit differs between keys (F-5.20), so the caller passes the default unit.
"""

from __future__ import annotations

import math
import re

NOT_A_DURATION = "not a duration"
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_DURATION = re.compile(f"(?:{_PART})+")


def parse_duration(value: object, *, unit: str | None = None) -> float:
    """Returns seconds. `unit` applies to a number without one; None rejects such numbers.

    Raises ValueError with a message for the user.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _scale(value, unit)
    if not isinstance(value, str):
        raise ValueError(NOT_A_DURATION)
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _scale(float(text), unit)
    if not _DURATION.fullmatch(text):
        raise ValueError(NOT_A_DURATION)
    return _finite(sum(float(number) * _SECONDS[name] for number, name in re.findall(_PART, text)))


def _scale(number: float, unit: str | None) -> float:
    if unit is None:
        raise ValueError("a duration without a unit")
    try:
        return _finite(number * _SECONDS[unit])
    except OverflowError:
        raise ValueError("a duration that is out of range") from None


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration that is out of range")
    return seconds


def format_duration(seconds: float) -> str:
    """Short form that `parse_duration` accepts: `1s`, `1.5s`, `500ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s"

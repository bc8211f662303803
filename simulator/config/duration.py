"""Lengths of time as Go writes them: `15s`, `1m30s`, `500ms`.

A number without a unit means something else in every place that has one (F-5.20), so the caller says what.
"""

from __future__ import annotations

import math
import re

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_DURATION = re.compile(f"(?:{_PART})+")


def parse_duration(value: object, *, unit: str | None = None) -> float:
    """Seconds. `unit` is that of a bare number; without it, one is refused. Raises ValueError in words."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _scale(value, unit)
    if not isinstance(value, str):
        raise ValueError("not a length of time")
    text = value.strip()
    if _NUMBER.fullmatch(text):
        return _scale(float(text), unit)
    if not _DURATION.fullmatch(text):
        raise ValueError("not a length of time")
    return _finite(sum(float(number) * _SECONDS[name] for number, name in re.findall(_PART, text)))


def _scale(number: float, unit: str | None) -> float:
    if unit is None:
        raise ValueError("a length of time without a unit")
    try:
        return _finite(number * _SECONDS[unit])
    except OverflowError:
        raise ValueError("a length of time that is out of range") from None


def _finite(seconds: float) -> float:
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a length of time that is out of range")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest form that `parse_duration` reads back: `1s`, `1.5s`, `500ms`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g}ms"
    return f"{seconds:g}s"

"""Parser for `Set-Cookie` with the algorithm of browsers (RFC 6265bis, section 5.6).

It is more lenient than the grammar for servers: a cookie with an invalid attribute is kept, without that attribute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

MAX_AGE_LIMIT_SECONDS = 400 * 24 * 60 * 60
"""RFC 6265bis, 5.5: browsers limit the lifetime of cookies to 400 days."""
MAX_PAIR_BYTES = 4096
MAX_ATTRIBUTE_BYTES = 1024

_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class CookieError(ValueError):
    """A `Set-Cookie` value that browsers ignore, with the reason."""


@dataclass(frozen=True, slots=True)
class SetCookie:
    """A parsed `Set-Cookie` value, not yet checked against the URL that it came from."""

    name: str
    value: str
    domain: str | None = None
    """Lower case, without a leading dot; None without a `Domain` attribute."""
    path: str | None = None
    max_age_seconds: int | None = None
    expires_at: float | None = None
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None

    def expiry_time(self, now: float) -> float | None:
        """Seconds since the Unix epoch; None for a session cookie. Max-Age takes precedence over Expires."""
        latest = now + MAX_AGE_LIMIT_SECONDS
        if self.max_age_seconds is not None:
            return min(now + self.max_age_seconds, latest) if self.max_age_seconds > 0 else float("-inf")
        return None if self.expires_at is None else min(self.expires_at, latest)


def parse_set_cookie(text: str) -> SetCookie:
    """Parse one `Set-Cookie` value. Raises CookieError if browsers ignore it."""
    if _CONTROLS.search(text):
        raise CookieError("it contains a control character")
    pair, *attributes = text.split(";")
    name, value = _split_pair(pair)
    if not name and not value:
        raise CookieError("it has neither a name nor a value")
    if len(name.encode()) + len(value.encode()) > MAX_PAIR_BYTES:
        raise CookieError(f"its name and value exceed {MAX_PAIR_BYTES} bytes")
    return _parse_attributes(SetCookie(name, value), attributes)


def _split_pair(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    return (name.strip(" \t"), value.strip(" \t")) if equals else ("", pair.strip(" \t"))


def _parse_attributes(cookie: SetCookie, attributes: list[str]) -> SetCookie:
    """The last attribute of a name takes precedence. Unknown and invalid ones are ignored."""
    for attribute in attributes:
        name, _, value = (part.strip(" \t") for part in attribute.partition("="))
        if len(value.encode()) <= MAX_ATTRIBUTE_BYTES:
            cookie = _with_attribute(cookie, name.lower(), value)
    return cookie


def _with_attribute(cookie: SetCookie, name: str, value: str) -> SetCookie:
    match name:
        case "domain":
            return replace(cookie, domain=value.removeprefix(".").lower() or None)
        case "path":
            return replace(cookie, path=value if value.startswith("/") else None)
        case "max-age" if re.fullmatch(r"-?[0-9]{1,18}", value):
            return replace(cookie, max_age_seconds=int(value))
        case "expires" if (date := parse_cookie_date(value)) is not None:
            return replace(cookie, expires_at=date)
        case "secure":
            return replace(cookie, secure=True)
        case "httponly":
            return replace(cookie, http_only=True)
        case "samesite" if value.lower() in {"strict", "lax", "none"}:
            return replace(cookie, same_site=value.capitalize())
    return cookie


_TOKENS = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?")
_DAY = re.compile(r"([0-9]{1,2})(?:[^0-9].*)?")
_YEAR = re.compile(r"([0-9]{2,4})(?:[^0-9].*)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def parse_cookie_date(text: str) -> float | None:
    """Parse an `Expires` date as browsers do (RFC 6265bis, 5.1.1). Returns None if they ignore it."""
    clock: tuple[int, int, int] | None = None
    day = month = year = None
    for token in _TOKENS.findall(text):
        if clock is None and (found := _TIME.fullmatch(token)):
            clock = int(found[1]), int(found[2]), int(found[3])
        elif day is None and (found := _DAY.fullmatch(token)):
            day = int(found[1])
        elif month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
        elif year is None and (found := _YEAR.fullmatch(token)):
            year = _four_digit_year(int(found[1]))
    if clock is None or day is None or month is None or year is None or year < 1601:
        return None
    hour, minute, second = clock
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _four_digit_year(year: int) -> int:
    if 70 <= year <= 99:
        return year + 1900
    return year + 2000 if year <= 69 else year

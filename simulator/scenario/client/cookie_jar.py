"""A cookie jar that behaves as a browser's, and can say why a cookie is not sent.

It follows RFC 6265bis with the clock as an argument. Two choices are its own. Plain http to a loopback address
is *not* a secure connection here, although some browsers think so: a scenario's 127.0.0.1 stands for the app's
public name, where a Secure cookie over http is lost. And `SameSite` is recorded but never withholds a cookie,
because a scenario's requests have no page of another site that they could come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from simulator.results import WithheldCookie
from simulator.scenario.client.cookie import CookieError, SetCookie, parse_set_cookie

SECURE_SCHEMES = frozenset({"https", "wss"})
PUBLIC_SUFFIXES = frozenset({"fly.dev", "edgeapp.net", "shw.io"})
"""Names under which strangers have their hosts, and for which no cookie may be set; the public suffix list has
these for Fly. A name without a dot counts as one too."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie as the jar keeps it."""

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    expires_at: float | None
    """None: until the client goes."""
    created_at: float
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None

    @property
    def key(self) -> tuple[str, str, bool, str]:
        return (self.name, self.domain, self.host_only, self.path)


@dataclass(frozen=True, slots=True)
class _Refusal:
    host: str
    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Place:
    """What of a URL matters to cookies."""

    scheme: str
    host: str
    path: str

    @classmethod
    def of(cls, url: str) -> _Place:
        parts = urlsplit(url)
        return cls(parts.scheme, (parts.hostname or "").rstrip("."), parts.path or "/")

    @property
    def is_secure(self) -> bool:
        return self.scheme in SECURE_SCHEMES

    @property
    def default_path(self) -> str:
        """The directory of the URL's path (RFC 6265bis, 5.1.4)."""
        folder, _, _ = self.path.rpartition("/")
        return folder if folder.startswith("/") else "/"


class CookieJar:
    """The cookies of one client."""

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, bool, str], Cookie] = {}
        self._refusals: dict[tuple[str, str], _Refusal] = {}

    def store(self, set_cookie: str, url: str, now: float) -> str | None:
        """Take in one `Set-Cookie` value that `url` answered with; returns why a browser would refuse it, if so."""
        place = _Place.of(url)
        try:
            asked = parse_set_cookie(set_cookie)
        except CookieError as error:
            return str(error)
        reason = _refusal(asked, place)
        if reason:
            self._refusals[place.host, asked.name] = _Refusal(place.host, asked.name, asked.value, reason)
            return reason
        self._refusals.pop((place.host, asked.name), None)
        self._keep(asked, place, now)
        return None

    def _keep(self, asked: SetCookie, place: _Place, now: float) -> None:
        host_only = asked.domain is None or _is_address(place.host)
        cookie = Cookie(
            name=asked.name,
            value=asked.value,
            domain=place.host if host_only else str(asked.domain),
            host_only=host_only,
            path=asked.path or place.default_path,
            expires_at=asked.lives_until(now),
            created_at=now,
            secure=asked.secure,
            http_only=asked.http_only,
            same_site=asked.same_site,
        )
        known = self._cookies.pop(cookie.key, None)
        if asked.max_age_seconds is not None and asked.max_age_seconds <= 0:
            return  # That is how a server deletes a cookie; nothing stays that could be withheld.
        if known is not None and cookie.expires_at is not None and cookie.expires_at <= now:
            return
        self._cookies[cookie.key] = cookie

    def put(self, name: str, value: str, url: str, now: float) -> None:
        """A cookie for the host of `url` and every path, as if its server had set it."""
        self.store(f"{name}={value}; Path=/", url, now)

    def cookies(self) -> tuple[Cookie, ...]:
        """All that are kept, the expired ones too."""
        return tuple(self._cookies.values())

    def cookies_for(self, url: str, now: float) -> tuple[Cookie, ...]:
        """What a browser sends to `url`: longer paths first, then the older cookies (RFC 6265bis, 5.8.3)."""
        place = _Place.of(url)
        sent = [cookie for cookie in self._cookies.values() if _reason(cookie, place, now) is None]
        return tuple(sorted(sent, key=lambda cookie: (-len(cookie.path), cookie.created_at)))

    def header_for(self, url: str, now: float) -> str | None:
        """The value of the `Cookie` field, or None where nothing is to be sent."""
        pairs = [f"{c.name}={c.value}" if c.name else c.value for c in self.cookies_for(url, now)]
        return "; ".join(pairs) or None

    def withheld(self, url: str, now: float) -> tuple[WithheldCookie, ...]:
        """The cookies that do not go to `url`, kept ones and those that were refused when they were set."""
        place = _Place.of(url)
        found = []
        for cookie in self._cookies.values():
            reason = _reason(cookie, place, now)
            if reason is not None:
                found.append(WithheldCookie(cookie.name, cookie.value, reason))
        found += [
            WithheldCookie(refusal.name, refusal.value, refusal.reason)
            for refusal in self._refusals.values()
            if refusal.host == place.host
        ]
        return tuple(found)


def _refusal(asked: SetCookie, place: _Place) -> str | None:
    """Why a browser does not keep a cookie that `place` sets (RFC 6265bis, 5.7)."""
    if asked.domain is not None and not _is_own_domain(asked.domain, place.host):
        return f"Domain={asked.domain}: {_domain_fault(asked.domain, place.host)}"
    if asked.secure and not place.is_secure:
        return "Secure: it was set over plain http, so a browser does not keep it"
    return _prefix_refusal(asked, place)


def _is_own_domain(domain: str, host: str) -> bool:
    if domain == host:
        return True
    return not _is_public(domain) and _domain_matches(host, domain)


def _domain_fault(domain: str, host: str) -> str:
    if _is_public(domain) and host.endswith(f".{domain}"):
        return f"nobody may set cookies for all of {domain}"
    return f"{host}, which set it, is not within that domain"


def _prefix_refusal(asked: SetCookie, place: _Place) -> str | None:
    name = asked.name.lower()
    if name.startswith(("__secure-", "__host-")) and not (asked.secure and place.is_secure):
        return f"{asked.name}: a name with that prefix needs Secure and https"
    if name.startswith("__host-") and (asked.domain is not None or asked.path != "/"):
        return f"{asked.name}: a name with that prefix needs Path=/ and no Domain"
    if asked.same_site == "None" and not asked.secure:
        return "SameSite=None: browsers keep that only together with Secure"
    return None


def _reason(cookie: Cookie, place: _Place, now: float) -> str | None:
    """Why `cookie` does not go to `place`; None if it does."""
    if cookie.host_only and cookie.domain != place.host:
        return f"no Domain: it belongs to {cookie.domain} alone, and the host is {place.host}"
    if not _domain_matches(place.host, cookie.domain):
        return f"Domain={cookie.domain}: the host is {place.host}"
    if not _path_matches(place.path, cookie.path):
        return f"Path={cookie.path}: the path is {place.path}"
    if cookie.expires_at is not None and cookie.expires_at <= now:
        return _expiry(cookie.expires_at, now)
    if cookie.secure and not place.is_secure:
        return "Secure: the URL is plain http"
    return None


def _expiry(expires_at: float, now: float) -> str:
    return "expired" if expires_at == float("-inf") else f"expired {round(now - expires_at)} s ago"


def _domain_matches(host: str, domain: str) -> bool:
    return host == domain or (host.endswith(f".{domain}") and not _is_address(host))


def _path_matches(path: str, cookie_path: str) -> bool:
    if path == cookie_path:
        return True
    return path.startswith(cookie_path) and (cookie_path.endswith("/") or path[len(cookie_path)] == "/")


def _is_public(domain: str) -> bool:
    return "." not in domain or domain in PUBLIC_SUFFIXES


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

"""Cookie jar with browser semantics (RFC 6265bis), which also reports why it does not send a cookie.

It differs from browsers in two points. Plain http to a loopback address is *not* secure, although some browsers treat
it as secure: in a scenario 127.0.0.1 represents the public name of the app, where a Secure cookie over http is lost.
`SameSite` is stored but never withholds a cookie, because requests of a scenario do not come from another site.
The clock is an argument: `now` is in seconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from simulator.results import WithheldCookie
from simulator.scenario.client.cookie import CookieError, SetCookie, parse_set_cookie

SECURE_SCHEMES = frozenset({"https", "wss"})
PUBLIC_SUFFIXES = frozenset({"fly.dev", "edgeapp.net", "shw.io"})
"""Fly's entries in the public suffix list: no cookie may be set for them. Names without a dot count too."""


@dataclass(frozen=True, slots=True)
class Cookie:
    """A stored cookie."""

    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    expires_at: float | None
    """None for a session cookie."""
    created_at: float
    secure: bool = False
    http_only: bool = False
    same_site: str | None = None

    @property
    def key(self) -> tuple[str, str, bool, str]:
        return (self.name, self.domain, self.host_only, self.path)


@dataclass(frozen=True, slots=True)
class _RejectedCookie:
    host: str
    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class _UrlParts:
    """The parts of a URL that matter for cookies."""

    scheme: str
    host: str
    path: str

    @classmethod
    def of(cls, url: str) -> _UrlParts:
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
        self._rejected: dict[tuple[str, str], _RejectedCookie] = {}

    def store(self, header: str, url: str, now: float) -> str | None:
        """Store a `Set-Cookie` value that `url` sent. Returns the reason if a browser rejects it, else None."""
        target = _UrlParts.of(url)
        try:
            set_cookie = parse_set_cookie(header)
        except CookieError as error:
            return str(error)
        reason = _rejection_reason(set_cookie, target)
        if reason:
            self._rejected[target.host, set_cookie.name] = _RejectedCookie(
                target.host, set_cookie.name, set_cookie.value, reason
            )
            return reason
        self._rejected.pop((target.host, set_cookie.name), None)
        self._store(set_cookie, target, now)
        return None

    def _store(self, set_cookie: SetCookie, target: _UrlParts, now: float) -> None:
        host_only = set_cookie.domain is None or _is_ip_address(target.host)
        cookie = Cookie(
            name=set_cookie.name,
            value=set_cookie.value,
            domain=target.host if host_only else str(set_cookie.domain),
            host_only=host_only,
            path=set_cookie.path or target.default_path,
            expires_at=set_cookie.expiry_time(now),
            created_at=now,
            secure=set_cookie.secure,
            http_only=set_cookie.http_only,
            same_site=set_cookie.same_site,
        )
        known = self._cookies.pop(cookie.key, None)
        if set_cookie.max_age_seconds is not None and set_cookie.max_age_seconds <= 0:
            return  # The server deleted the cookie: it is not reported as withheld.
        if known is not None and cookie.expires_at is not None and cookie.expires_at <= now:
            return
        self._cookies[cookie.key] = cookie

    def put(self, name: str, value: str, url: str, now: float) -> None:
        """Add a cookie for the host of `url` and all paths."""
        self.store(f"{name}={value}; Path=/", url, now)

    def cookies(self) -> tuple[Cookie, ...]:
        """Return all stored cookies, including expired ones."""
        return tuple(self._cookies.values())

    def cookies_for(self, url: str, now: float) -> tuple[Cookie, ...]:
        """Return the cookies to send to `url`: longest paths first, then oldest (RFC 6265bis, 5.8.3)."""
        target = _UrlParts.of(url)
        sent = [cookie for cookie in self._cookies.values() if _withheld_reason(cookie, target, now) is None]
        return tuple(sorted(sent, key=lambda cookie: (-len(cookie.path), cookie.created_at)))

    def header_for(self, url: str, now: float) -> str | None:
        """Return the value of the `Cookie` header, or None if there is nothing to send."""
        pairs = [f"{c.name}={c.value}" if c.name else c.value for c in self.cookies_for(url, now)]
        return "; ".join(pairs) or None

    def withheld(self, url: str, now: float) -> tuple[WithheldCookie, ...]:
        """Return the cookies that are not sent to `url`, including those rejected when they were set."""
        target = _UrlParts.of(url)
        found = []
        for cookie in self._cookies.values():
            reason = _withheld_reason(cookie, target, now)
            if reason is not None:
                found.append(WithheldCookie(cookie.name, cookie.value, reason))
        found += [
            WithheldCookie(rejected.name, rejected.value, rejected.reason)
            for rejected in self._rejected.values()
            if rejected.host == target.host
        ]
        return tuple(found)


def _rejection_reason(set_cookie: SetCookie, target: _UrlParts) -> str | None:
    """Return why a browser rejects a cookie from `target` (RFC 6265bis, 5.7), or None."""
    if set_cookie.domain is not None and not _may_set_domain(set_cookie.domain, target.host):
        return f"Domain={set_cookie.domain}: {_explain_domain(set_cookie.domain, target.host)}"
    if set_cookie.secure and not target.is_secure:
        return "Secure: set over plain http, so browsers reject it"
    return _prefix_rejection_reason(set_cookie, target)


def _may_set_domain(domain: str, host: str) -> bool:
    if domain == host:
        return True
    return not _is_public_suffix(domain) and _domain_matches(host, domain)


def _explain_domain(domain: str, host: str) -> str:
    if _is_public_suffix(domain) and host.endswith(f".{domain}"):
        return f"{domain} is a public suffix, so browsers reject it"
    return f"set by {host}, which is not in that domain"


def _prefix_rejection_reason(set_cookie: SetCookie, target: _UrlParts) -> str | None:
    name = set_cookie.name.lower()
    if name.startswith(("__secure-", "__host-")) and not (set_cookie.secure and target.is_secure):
        return f"{set_cookie.name}: names with this prefix require Secure and https"
    if name.startswith("__host-") and (set_cookie.domain is not None or set_cookie.path != "/"):
        return f"{set_cookie.name}: names with this prefix require Path=/ and no Domain"
    if set_cookie.same_site == "None" and not set_cookie.secure:
        return "SameSite=None: browsers reject it without Secure"
    return None


def _withheld_reason(cookie: Cookie, target: _UrlParts, now: float) -> str | None:
    """Return why `cookie` is not sent to `target`, or None if it is."""
    if cookie.host_only and cookie.domain != target.host:
        return f"no Domain, so only for {cookie.domain}: the host is {target.host}"
    if not _domain_matches(target.host, cookie.domain):
        return f"Domain={cookie.domain}: the host is {target.host}"
    if not _path_matches(target.path, cookie.path):
        return f"Path={cookie.path}: the path is {target.path}"
    if cookie.expires_at is not None and cookie.expires_at <= now:
        return _describe_expiry(cookie.expires_at, now)
    if cookie.secure and not target.is_secure:
        return "Secure: the URL is plain http"
    return None


def _describe_expiry(expires_at: float, now: float) -> str:
    return "expired" if expires_at == float("-inf") else f"expired {round(now - expires_at)} s ago"


def _domain_matches(host: str, domain: str) -> bool:
    return host == domain or (host.endswith(f".{domain}") and not _is_ip_address(host))


def _path_matches(path: str, cookie_path: str) -> bool:
    if path == cookie_path:
        return True
    return path.startswith(cookie_path) and (cookie_path.endswith("/") or path[len(cookie_path)] == "/")


def _is_public_suffix(domain: str) -> bool:
    return "." not in domain or domain in PUBLIC_SUFFIXES


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True

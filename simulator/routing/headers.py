"""Header rules of the proxy: which fields it sets, overwrites, removes and appends to (facts section 4).

Fields are raw pairs of bytes. Functions return new fields; they never change the ones they are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from simulator.routing.model import Fields, Machine, Request
from simulator.routing.options import RoutingOptions
from simulator.routing.service import HttpOptions
from simulator.text import encode_field

FLY_REPLAY = b"fly-replay"
FLY_REPLAY_SRC = b"fly-replay-src"
FLY_REPLAY_FAILED = b"fly-replay-failed"
FLY_REPLAY_CACHE_STATUS = b"fly-replay-cache-status"
FLY_PREFERRED_INSTANCE_UNAVAILABLE = b"fly-preferred-instance-unavailable"

SERVER = b"Fly/f1751a0e (2026-08-13)"
"""`Fly/<short sha> (<date>)` (F-4.22)."""

_CLIENT_ROUTING = frozenset(
    {b"fly-force-instance-id", b"fly-prefer-instance-id", b"fly-force-region", b"fly-prefer-region"}
)
# K-15: removed if the client sent them.
PROXY_ONLY = frozenset(
    {FLY_REPLAY_SRC, FLY_REPLAY_FAILED, FLY_REPLAY_CACHE_STATUS, FLY_PREFERRED_INSTANCE_UNAVAILABLE}
)
# F-4.17: the proxy always overwrites the Fly-* fields.
_OVERWRITTEN = frozenset(
    {
        b"fly-client-ip",
        b"fly-forwarded-port",
        b"fly-forwarded-proto",
        b"fly-forwarded-ssl",
        b"fly-region",
        b"fly-request-id",
        b"fly-traceparent",
        b"fly-tracestate",
        b"x-request-start",
    }
)
_REMOVED = _OVERWRITTEN | PROXY_ONLY
# F-4.20, RFC 9110, 7.6.1; without Transfer-Encoding, which is kept because it frames the body.
HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"})
_NEVER_HOP_BY_HOP = frozenset({b"host", b"content-length", b"transfer-encoding"})
# F-4.21: the proxy sets these on every response.
_MODIFIED = frozenset({b"server", b"via", b"fly-request-id"})
# The response fields that a trace shows for a hop.
_SHOWN = frozenset({b"location", b"set-cookie", b"content-type", b"connection", b"upgrade", b"retry-after"})


def find_field(fields: Fields, name: bytes) -> str | None:
    """The value of the last field called `name`, which is given in lower case; None if there is none."""
    length = len(name)
    for key, value in reversed(fields):
        if len(key) == length and key.lower() == name:
            return value.strip(b" \t").decode("latin-1")
    return None


def find_cookie(fields: Fields, name: bytes) -> str | None:
    """The value of the first cookie called `name`, without surrounding quotes; None if there is none."""
    for key, value in fields:
        if key.lower() == b"cookie":
            for pair in value.split(b";"):
                cookie, _, content = pair.partition(b"=")
                if cookie.strip() == name:
                    return content.decode("latin-1").strip().strip('"')
    return None


def end_to_end(fields: Fields, *, upgradable: bool = True) -> Fields:
    """Remove hop-by-hop fields (F-4.20), and those that Connection names, except Host and the body's framing.

    A WebSocket upgrade keeps Connection and Upgrade if `upgradable`; any other upgrade is ignored (RFC 9110, 7.8).
    """
    named = [(key.lower(), key, value) for key, value in fields]
    options = {
        option.strip().lower()
        for name, _, value in named
        if name == b"connection"
        for option in value.split(b",")
    }
    dropped = HOP_BY_HOP | (options - _NEVER_HOP_BY_HOP) if options else HOP_BY_HOP
    kept = tuple([(key, value) for name, key, value in named if name not in dropped])
    if upgradable and b"upgrade" in options and _offers_websocket(fields):
        return (*kept, (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"))
    return kept


def _offers_websocket(fields: Fields) -> bool:
    return any(
        protocol.strip().lower() == b"websocket"
        for key, value in fields
        if len(key) == 7 and key.lower() == b"upgrade"
        for protocol in value.split(b",")
    )


def overwrite(fields: Fields, extra: Fields) -> Fields:
    """`fields` with those of the same name replaced by `extra`, whose names are in lower case."""
    names = {name for name, _ in extra}
    return (*(field for field in fields if field[0].lower() not in names), *extra)


def request_fields(
    request: Request, edge: str, request_id: str, now: float, options: RoutingOptions
) -> Fields:
    """The fields of every delivery of a request: the client's and Fly's (F-4.1 to F-4.8, F-4.11).

    Includes undocumented fields seen in captured requests (F-4.12 to F-4.14).
    """
    removed = _REMOVED if options.strip_forged_headers else _OVERWRITTEN
    if not options.forward_client_headers:  # K-37
        removed |= _CLIENT_ROUTING
    kept: list[tuple[bytes, bytes]] = []
    forwarded_for: list[bytes] = []
    via: list[bytes] = []
    present: set[bytes] = set()
    # HTTP/1.0 has no Upgrade (RFC 9110, 7.8).
    for key, value in end_to_end(request.fields, upgradable=request.http_version == "1.1"):
        name = key.lower()
        if b"_" in name and name.replace(b"_", b"-") in removed:
            continue  # CGI and WSGI apps cannot tell these names apart
        if name == b"x-forwarded-for":
            forwarded_for.append(value)
        elif name == b"via":
            via.append(value)
        elif name not in removed:
            kept.append((key, value))
            present.add(name)
    tls = request.scheme == "https"
    port, scheme, ssl = b"%d" % request.edge_port, request.scheme.encode(), b"on" if tls else b"off"
    client_ip = request.client_ip.encode()
    kept += (
        (b"Fly-Client-IP", client_ip),
        (b"Fly-Forwarded-Port", port),
        (b"Fly-Forwarded-Proto", scheme),
        (b"Fly-Forwarded-Ssl", ssl),
        (b"Fly-Region", edge.encode()),
        (b"Fly-Request-Id", request_id.encode()),
        (b"Fly-Traceparent", _traceparent(request_id)),
        (b"Fly-Tracestate", b""),
        (b"X-Request-Start", b"t=%d" % (now * 1_000_000)),
        # The rightmost entry is the app's own address, preceded by the client's (F-4.4).
        (b"X-Forwarded-For", b", ".join([*forwarded_for, client_ip, request.edge_ip.encode()])),
        (b"Via", b", ".join([*via, request.http_version.encode() + b" fly.io"])),
    )
    # F-4.17: the client's own values of these three pass through.
    if b"x-forwarded-proto" not in present:
        kept.append((b"X-Forwarded-Proto", scheme))
    if b"x-forwarded-port" not in present:
        kept.append((b"X-Forwarded-Port", port))
    if b"x-forwarded-ssl" not in present:
        kept.append((b"X-Forwarded-SSL", ssl))
    return tuple(kept)


def _traceparent(request_id: str) -> bytes:
    """Version, trace, span and flags (F-4.13), derived from the request id so that a seed determines them."""
    digits = blake2b(request_id.encode(), digest_size=24).hexdigest()
    return f"00-{digits[:32]}-{digits[32:]}-00".encode()


def response_fields(
    fields: Fields,
    request_id: str,
    http_version: str,
    http: HttpOptions,
    *,
    replayed: bool,
    cookies: Fields = (),
) -> Fields:
    """The response fields as the client gets them (F-4.21 to F-4.25; `Via` twice after a replay, F-1.100)."""
    kept = [*end_to_end(fields), *cookies]
    if not http.pristine:
        via = [value for key, value in kept if key.lower() == b"via"]
        kept = [field for field in kept if field[0].lower() not in _MODIFIED]
        kept += _proxy_fields(request_id, http_version, via, replayed=replayed)
    if http.response_headers:
        named = {encode_field(name.lower()) for name, values in http.response_headers if values is None}
        kept = [field for field in kept if field[0].lower() not in named]
        kept += [
            (encode_field(name), encode_field(value))
            for name, values in http.response_headers
            for value in values or ()
        ]
    return tuple(kept)


def rejection_fields(request_id: str, http_version: str, date: bytes) -> Fields:
    """The fields of the proxy's own response: no body, and no reason (F-1.99)."""
    return (
        (b"content-length", b"0"),
        (b"date", date),
        *_proxy_fields(request_id, http_version, [], replayed=False),
    )


def _proxy_fields(request_id: str, http_version: str, via: list[bytes], *, replayed: bool) -> Fields:
    passes = [b"1.1 fly.io"] if replayed else []
    return (
        (b"server", SERVER),
        (b"via", b", ".join([*via, *passes, http_version.encode() + b" fly.io"])),
        (b"fly-request-id", request_id.encode()),
    )


def replay_src(machine: Machine, microseconds: int, state: str | None) -> bytes:
    """The value of `fly-replay-src`: the machine that replayed, and the time (F-1.41, F-1.42)."""
    text = f"instance={machine.id};region={machine.region};t={microseconds}"
    return (f"{text};state={state}" if state is not None else text).encode("latin-1", "replace")


FailureReason = Literal["timeout", "retries_exhausted", "no_candidate"]
"""Why a replay failed, in `fly-replay-failed` (F-1.55)."""


@dataclass(frozen=True, slots=True)
class FailedReplay:
    """Content of `fly-replay-failed`; without an `app` in the replay, `app` is the source's own."""

    instance: str | None
    app: str | None
    region: str | None
    source: str
    reason: FailureReason
    elapsed_ms: int

    def header_value(self, *, with_unknown: bool = False) -> bytes:
        """F-1.54; fields that the replay did not have are omitted, or empty with `with_unknown` (K-39)."""
        pairs: Iterable[tuple[str, str | None]] = (
            ("instance", self.instance),
            ("app", self.app),
            ("region", self.region),
            ("replay_source", self.source),
            ("reason", self.reason),
            ("elapsed_ms", str(self.elapsed_ms)),
        )
        named = [f"{key}={value or ''}" for key, value in pairs if value is not None or with_unknown]
        return ";".join(named).encode("latin-1", "replace")


def shown_fields(fields: Fields) -> tuple[tuple[str, str], ...]:
    """The response fields that a trace shows for a hop, as text, names in lower case."""
    named = [(key.lower(), value) for key, value in fields]
    return tuple(
        [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in named
            if name in _SHOWN or name.startswith(b"fly-")
        ]
    )


def cookie_names(fields: Fields) -> tuple[str, ...]:
    """The names of the cookies in a request."""
    return tuple(
        name
        for key, value in fields
        if key.lower() == b"cookie"
        for pair in value.decode("latin-1").split(";")
        if (name := pair.partition("=")[0].strip())
    )

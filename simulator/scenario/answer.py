"""What came back to a client: of a request, of a WebSocket handshake, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.routing.trace import Trace
from simulator.scenario.client.cookie_jar import WithheldCookie

REQUEST_ID_HEADER = "fly-request-id"


@dataclass(slots=True)
class ClientResponse:
    """One exchange as its client saw it, with the trace of it where there is one."""

    title: str
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str | None = None
    """`timeout` or `disconnect`, where no answer came."""
    failure_text: str = ""
    redirects: int = 0
    """How many were followed before this came."""
    not_followed: str = ""
    """Why the redirect that this is was not followed, though that was asked for."""
    elapsed_seconds: float = 0.0
    """On the simulated clock."""
    cookies_sent: tuple[str, ...] = ()
    withheld: tuple[WithheldCookie, ...] = ()
    trace: Trace | None = None
    messages: list[str | bytes] = field(default_factory=list)
    close_code: int | None = None
    close_reason: str = ""
    subprotocol: str | None = None

    @property
    def request_id(self) -> str | None:
        return next(iter(self.header_values(REQUEST_ID_HEADER)), None)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def header_values(self, name: str) -> tuple[str, ...]:
        return tuple(value for key, value in self.headers if key.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One expectation that did not hold, in words."""

    what: str
    expected: str
    actual: str

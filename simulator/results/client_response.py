"""Response that a client of a scenario got to a request or a handshake, or the failure if there was none."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.routing.trace import Trace

REQUEST_ID_HEADER = "fly-request-id"


@dataclass(frozen=True, slots=True)
class WithheldCookie:
    """A cookie that the client has and did not send, with the reason."""

    name: str
    value: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(slots=True)
class ClientResponse:
    """One exchange as its client saw it, with its trace if there is one."""

    title: str
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    failure: str | None = None
    """`timeout` or `disconnect` if there was no response, else None."""
    failure_text: str = ""
    redirects: int = 0
    """Number of redirects that the client followed to get this response."""
    not_followed: str = ""
    """Why the client did not follow this redirect, although the step has `follow: true`."""
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
        """The `Fly-Request-Id`, under which the journal has the trace."""
        return next(iter(self.header_values(REQUEST_ID_HEADER)), None)

    @property
    def text(self) -> str:
        """The body as UTF-8; other bytes become U+FFFD."""
        return self.body.decode("utf-8", "replace")

    def header_values(self, name: str) -> tuple[str, ...]:
        """All values of a header; `name` in any case."""
        return tuple(value for key, value in self.headers if key.lower() == name.lower())


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One expectation that does not hold, as text."""

    what: str
    expected: str
    actual: str

"""Error codes of the Fly Proxy, as values with the text that Fly logs.

Codes and texts are those of facts section 6 (F-6.1 to F-6.62). A client gets only a status and an empty body
(F-1.99, F-6.1); the text goes to the log of the app that caused the error (F-6.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class ProxyError:
    """One emulated error: `code` such as PA02, `message` as in the app's log."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


CODES = ("PA01", "PA02", "PA03", "PA04", "PA05", "PM05", "PR01", "PR03", "PR04", "PU01", "PU02")
"""The codes that can end an exchange; docs/findings.md explains each."""

BUG = "BUG"
"""In place of a code: a bug in flysim ended the exchange. Fly has no such code."""


class Failure(StrEnum):
    """How a delivery failed, in network terms."""

    REFUSED = "refused"  # nothing listens on the machine's port
    RESET = "reset"  # the connection was reset before it was established
    ABORTED = "aborted"  # the same, aborted on the proxy's side
    HOST_UNREACHABLE = "host unreachable"  # no route to the machine's host
    TIMED_OUT = "timed out"  # no connection within the connect timeout
    UNREACHABLE = "unreachable"  # any other connect error
    CLOSED = "closed"  # the connection closed before a complete response head
    UNREADABLE = "unreadable"  # the response is not HTTP
    NO_HTTP2 = "no HTTP/2"  # not HTTP/2, although the app has h2_backend

    @property
    def reached_the_machine(self) -> bool:
        """Whether the app may have received the request; if so, the proxy does not resend it (F-5.45, K-34)."""
        return self in (Failure.CLOSED, Failure.UNREADABLE, Failure.NO_HTTP2)


# F-6.44: the body exceeded the replay buffer.
BODY_TOO_LARGE = ProxyError(
    "PA01", "cannot retry/replay request because request body has been read past what we're willing to buffer"
)
# F-6.45
TOO_MANY_REPLAYS = ProxyError(
    "PA02", "'fly-replay' response header was returned too many times, stopping there"
)


def unparsable(problem: str) -> ProxyError:
    """F-6.46; flysim adds the reason, in parentheses."""
    return ProxyError("PA03", f"could not parse 'fly-replay' response header returned by app ({problem})")


def app_not_found(source: str, target: str) -> ProxyError:
    """F-1.63, F-6.47"""
    return ProxyError(
        "PA04",
        f"app '{source}' used 'fly-replay' response header to target app '{target}', which we cannot find",
    )


def not_permitted(source: str, target: str) -> ProxyError:
    """F-1.72, F-6.48: the target belongs to another organization."""
    return ProxyError(
        "PA05",
        f"app '{source}' used 'fly-replay' response header to target app '{target}', "
        "but it doesn't have permission to do so",
    )


def cross_network(source: str, target: str) -> ProxyError:
    """F-1.70. Fly does not document the code; other refused targets are PA05."""
    return ProxyError(
        "PA05",
        f"app '{source}' used 'fly-replay' response header to target app '{target}', "
        "but cross-network replays are not allowed",
    )


# F-1.56, K-18: Fly documents no code for it.
REPLAY_FROM_FALLBACK = ProxyError(
    "PA03", "'fly-replay' response header was returned for a fallback request, which cannot be replayed"
)
# F-6.52, F-5.44: the machine was chosen, then destroyed before the request arrived.
MACHINE_GONE = ProxyError("PR02", "fly proxy could not find local instance for route")
# F-6.37, F-5.30
NOT_REACHABLE = ProxyError("PM05", "failed to connect to machine: gave up after 15 attempts (in 8.2s)")


def not_served(source: str, target: str, port: int) -> ProxyError:
    """F-1.62: no machine of the target app offers the public port, or the app has no machines."""
    return ProxyError(
        "PR04",
        f"app {source} tried to fly-replay to app {target}, but nothing from that app serves port tcp/{port}",
    )


def no_route(port: int) -> ProxyError:
    """F-6.51, F-9.18: the app has no service on the requested port, or there is no app."""
    return ProxyError("PR01", f"no known healthy instances found for route tcp/{port}")


def retries_exhausted(attempts: int, last: ProxyError) -> ProxyError:
    """F-6.22: no machine accepted a raw connection."""
    return ProxyError("PC07", f"connection retries exhausted after {attempts} attempts. last error: {last}")


def tls_canceled(name: str) -> ProxyError:
    """F-6.26: the client closed the connection. Fly's text for this and the next error is not known."""
    return ProxyError("PT03", f"TLS handshake for SNI {name} was cancelled by the client")


def tls_failed(name: str, problem: str) -> ProxyError:
    """F-6.27"""
    return ProxyError("PT04", f"TLS handshake for SNI {name} failed: {problem}")


def did_not_start(state: str) -> ProxyError:
    """F-6.39: the machine ended before it was reachable."""
    return ProxyError("PM07", f"failed to change machine state: machine is {state}")


def not_startable(state: str) -> ProxyError:
    """F-6.40, F-5.31"""
    return ProxyError("PM08", f"machine is in a non-startable state: {state}")


def no_candidate(attempts: int, last: ProxyError | None = None) -> ProxyError:
    """F-6.53 with a last error, F-6.54 without one."""
    text = f"could not find a good candidate within {attempts} attempts at load balancing"
    return ProxyError("PR03", f"{text}. last error: {last}") if last else ProxyError("PR04", text)


def delivery_error(failure: Failure, port: int) -> ProxyError:
    """The code for one failed delivery (F-6.11 to F-6.13, F-6.16, F-6.18 to F-6.21)."""
    return {
        Failure.REFUSED: ProxyError(
            "PC01",
            f"instance refused connection. is your app listening on 0.0.0.0:{port}? "
            "make sure it is not only listening on 127.0.0.1",
        ),
        Failure.RESET: ProxyError("PC03", "connection reset by instance"),
        Failure.ABORTED: ProxyError("PC04", "connection aborted by instance"),
        Failure.HOST_UNREACHABLE: ProxyError("PU03", "could not reach the host of the instance"),
        Failure.TIMED_OUT: ProxyError("PC05", "connection to instance timed out"),
        Failure.UNREACHABLE: ProxyError("PC06", "could not connect to instance"),
        Failure.CLOSED: ProxyError(
            "PU02",
            "could not complete HTTP request to instance: connection closed before message completed",
        ),
        Failure.UNREADABLE: ProxyError(
            "PU02", "could not complete HTTP request to instance: invalid HTTP response"
        ),
        Failure.NO_HTTP2: ProxyError("PU01", "could not complete HTTP/2 handshake with instance"),
    }[failure]

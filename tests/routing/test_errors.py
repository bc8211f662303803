from __future__ import annotations

import inspect
import re

import pytest

from simulator.routing import Failure, ProxyError, errors


@pytest.mark.parametrize(
    ("error", "line"),
    [
        # F-6.44
        (
            errors.BODY_TOO_LARGE,
            "[PA01] cannot retry/replay request because request body has been read past what we're willing to buffer",
        ),
        # F-6.45
        (
            errors.TOO_MANY_REPLAYS,
            "[PA02] 'fly-replay' response header was returned too many times, stopping there",
        ),
        # F-6.46
        (
            errors.unparsable("the value is empty"),
            "[PA03] could not parse 'fly-replay' response header returned by app (the value is empty)",
        ),
        # F-1.63, F-6.47
        (
            errors.app_not_found("src", "dst"),
            "[PA04] app 'src' used 'fly-replay' response header to target app 'dst', which we cannot find",
        ),
        # F-1.72, F-6.48
        (
            errors.not_permitted("src", "dst"),
            "[PA05] app 'src' used 'fly-replay' response header to target app 'dst', "
            "but it doesn't have permission to do so",
        ),
        # F-1.70
        (
            errors.cross_network("src", "dst"),
            "[PA05] app 'src' used 'fly-replay' response header to target app 'dst', "
            "but cross-network replays are not allowed",
        ),
        # F-6.22
        (
            errors.retries_exhausted(6, ProxyError("PC01", "refused")),
            "[PC07] connection retries exhausted after 6 attempts. last error: [PC01] refused",
        ),
        # F-6.26, F-6.27
        (errors.tls_canceled("a.dev"), "[PT03] TLS handshake for SNI a.dev was cancelled by the client"),
        (errors.tls_failed("a.dev", "no trust"), "[PT04] TLS handshake for SNI a.dev failed: no trust"),
        # F-6.54
        (
            errors.no_candidate(40),
            "[PR04] could not find a good candidate within 40 attempts at load balancing",
        ),
        # F-6.53
        (
            errors.no_candidate(90, ProxyError("PC01", "refused")),
            "[PR03] could not find a good candidate within 90 attempts at load balancing. last error: [PC01] refused",
        ),
    ],
)
def test_an_error_has_the_text_of_flys_log(error: ProxyError, line: str) -> None:
    """F-6.1: `[CODE] message`"""
    assert str(error) == line


@pytest.mark.parametrize(
    ("failure", "code", "text"),
    [
        # F-6.16
        (
            Failure.REFUSED,
            "PC01",
            "instance refused connection. is your app listening on 0.0.0.0:8080? "
            "make sure it is not only listening on 127.0.0.1",
        ),
        (Failure.RESET, "PC03", "reset"),  # F-6.18
        (Failure.ABORTED, "PC04", "aborted"),  # F-6.19
        (Failure.HOST_UNREACHABLE, "PU03", "could not reach the host"),  # F-6.13
        (Failure.TIMED_OUT, "PC05", "timed out"),  # F-6.20
        (Failure.UNREACHABLE, "PC06", "could not connect"),  # F-6.21
        # F-6.12
        (
            Failure.CLOSED,
            "PU02",
            "could not complete HTTP request to instance: connection closed before message completed",
        ),
        (Failure.UNREADABLE, "PU02", "could not complete HTTP request to instance"),
        (Failure.NO_HTTP2, "PU01", "HTTP/2 handshake"),  # F-6.11
    ],
)
def test_each_failure_of_a_delivery_has_its_code(failure: Failure, code: str, text: str) -> None:
    error = errors.delivery_error(failure, 8080)
    assert error.code == code
    assert text in error.message


@pytest.mark.parametrize("failure", Failure)
def test_failures_after_the_connection_have_reached_the_machine(failure: Failure) -> None:
    """F-5.45, K-34"""
    answered = (Failure.CLOSED, Failure.UNREADABLE, Failure.NO_HTTP2)
    assert failure.reached_the_machine is (failure in answered)


def test_all_codes_that_can_end_an_exchange_are_listed() -> None:
    """PC…, PM07, PM08, PR02 and PU03 end one attempt, and finally become PR03; PT… precede the exchange."""
    written = set(re.findall(r'"(P[A-Z][0-9]{2})"', inspect.getsource(errors)))
    passing = {code for code in written if code.startswith(("PC", "PT"))} | {"PM07", "PM08", "PR02", "PU03"}
    assert written - passing == set(errors.CODES)

"""The fuzzer finds an input that fails, makes it small, and stores it; the strict parser names each flaw."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import strict_http1
from tests.fuzz.campaign import run_campaign

ENOUGH_SECONDS = 60.0  # The campaign ends as soon as every kind has failed.


def refuse_nul(data: bytes) -> None:
    if b"\0" in data:
        raise ValueError("NUL")


def test_a_campaign_finds_a_small_input_that_fails_and_stores_it(tmp_path: Path) -> None:
    failures, numbers = run_campaign({"text": refuse_nul}, {"text": [b"hello", b"world"]}, 1, ENOUGH_SECONDS)

    failure = failures["text"]
    assert failure.data.count(b"\0") == 1
    assert len(failure.data) < 40
    assert "ValueError: NUL" in failure.describe()
    assert failure.store(tmp_path).read_bytes() == failure.data
    assert numbers["text"] > 1


def test_a_seed_repeats_its_inputs() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []

        def check(data: bytes, inputs: list[bytes] = inputs) -> None:
            inputs.append(data)
            refuse_nul(data)

        run_campaign({"text": check}, {"text": [b"hello", b"world"]}, 7, ENOUGH_SECONDS)
        seen.append(inputs)
    assert seen[0] == seen[1]


GET = b"GET / HTTP/1.1\r\nHost: a\r\n"

FLAWS = {
    b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n": "start line",
    b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n": "start line",
    b"GET / HTTP/1.1\r\n\r\n": "0 Host fields",
    GET + b"host: b\r\n\r\n": "2 Host fields",
    GET + b"x: a\rb\r\n\r\n": "field line",
    GET + b"x: a\0\r\n\r\n": "field line",
    GET + b" folded\r\n\r\n": "field line",
    GET + b"x : y\r\n\r\n": "field line",
    GET + b"content-length: 1\r\ncontent-length: 2\r\n\r\n": "Content-Length",
    GET + b"content-length: -1\r\n\r\n": "Content-Length",
    GET + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n": "framing",
    GET + b"transfer-encoding: x\r\n\r\n": "framing",
    GET + b"transfer-encoding: chunked\r\n\r\nzz\r\n": "chunk size",
    GET + b"transfer-encoding: chunked\r\n\r\n1\r\nabc": "chunk end",
    GET + b"transfer-encoding: chunked\r\n\r\n0\r\nx : y\r\n\r\n": "field line",
}


@pytest.mark.parametrize("data", FLAWS, ids=lambda data: data[:60])
def test_the_strict_parser_names_a_flaw(data: bytes) -> None:
    (request,) = strict_http1.parse_requests(data)
    assert FLAWS[data] in ", ".join(request.flaws)


def test_the_strict_parser_accepts_complete_and_incomplete_requests() -> None:
    first = GET + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    second = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc"
    requests = list(strict_http1.parse_requests(first + second + b""))
    assert [(request.flaws, request.is_complete) for request in requests] == [([], True), ([], False)]

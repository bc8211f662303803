"""Who may ask: loopback names only, and no change for a foreign web page."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from simulator.dashboard.loopback_guard import find_refusal, is_loopback
from tests.dashboard.harness import Harness

RESET = "/_flysim/reset"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:4280", "127.0.0.1", "127.0.0.1:4280", "127.1.2.3:1", "[::1]", "[::1]:4280"],
)
def test_these_hosts_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "flysim.example", "localhost.example", "127.0.0.1.example:4280", "10.0.0.1", "[::2]", "::1", "0.0.0.0",
        "[127.0.0.1]", "localhost:x", "localhost:4280:1", "user@localhost", "127.1", "2130706433", "[::ffff:10.0.0.1]",
        "localhost\n", "localhost/",
    ],
)  # fmt: skip
def test_these_hosts_are_not(host: str) -> None:
    assert not is_loopback(host)


async def test_a_foreign_host_is_refused_whatever_it_asks(harness: Harness) -> None:
    for method, path in (("GET", "/"), ("GET", "/_flysim/status"), ("POST", RESET)):
        answer = await harness.client.request(method, path, headers={"Host": "rebound.example:4280"})
        assert answer.status_code == 403
        assert "Host is rebound.example:4280" in answer.json()["error"]
    assert harness.simulator.resets == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_change_that_another_page_asks_for_is_refused(
    harness: Harness, headers: dict[str, str]
) -> None:
    answer = await harness.client.post(RESET, headers=headers)

    assert answer.status_code == 403
    assert answer.json()["error"].startswith("another web page")
    assert harness.simulator.resets == 0
    assert (
        await harness.client.delete(f"/v1/apps/chat/machines/{'0' * 14}", headers=headers)
    ).status_code == 403


async def test_the_page_itself_and_plain_programs_may_change_things(harness: Harness) -> None:
    own = {"Origin": f"http://127.0.0.1:{harness.port}", "Sec-Fetch-Site": "same-origin"}

    assert (await harness.client.post(RESET, headers=own)).status_code == 200
    harness.simulator.stuck.set()
    assert (await harness.client.post(RESET)).status_code == 200


async def test_reading_needs_no_origin(harness: Harness) -> None:
    """What it reads, a foreign page is not shown: no answer allows it to (no Access-Control-Allow-Origin)."""
    answer = await harness.client.get("/_flysim/status", headers={"Origin": "https://elsewhere.example"})

    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_two_hosts_or_none_are_refused() -> None:
    twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"elsewhere.example")])

    assert find_refusal("GET", twice) == (
        "Host is localhost, elsewhere.example; this answers only to 127.0.0.1, localhost and [::1]"
    )
    assert find_refusal("GET", Headers(raw=[])) is not None
    assert find_refusal("GET", Headers(raw=[(b"host", b"localhost")])) is None

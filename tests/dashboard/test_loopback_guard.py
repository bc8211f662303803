"""Requests that the control API refuses: foreign hosts, and changes from other web pages."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from simulator.dashboard.loopback_guard import find_problem, is_loopback
from tests.dashboard.harness import Harness

RESET = "/_flysim/reset"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:4280", "127.0.0.1", "127.0.0.1:4280", "127.1.2.3:1", "[::1]", "[::1]:4280"],
)
def test_hosts_that_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "flysim.example", "localhost.example", "127.0.0.1.example:4280", "10.0.0.1", "[::2]", "::1", "0.0.0.0",
        "[127.0.0.1]", "localhost:x", "localhost:4280:1", "user@localhost", "127.1", "2130706433", "[::ffff:10.0.0.1]",
        "localhost\n", "localhost/",
    ],
)  # fmt: skip
def test_hosts_that_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


async def test_every_request_with_a_foreign_host_is_refused(harness: Harness) -> None:
    for method, path in (("GET", "/"), ("GET", "/_flysim/status"), ("POST", RESET)):
        response = await harness.client.request(method, path, headers={"Host": "rebound.example:4280"})
        assert response.status_code == 403
        assert "Host is rebound.example:4280" in response.json()["error"]
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
async def test_a_change_from_another_web_page_is_refused(harness: Harness, headers: dict[str, str]) -> None:
    response = await harness.client.post(RESET, headers=headers)

    assert response.status_code == 403
    assert response.json()["error"].startswith("another web page")
    assert harness.simulator.resets == 0
    assert (
        await harness.client.delete(f"/v1/apps/chat/machines/{'0' * 14}", headers=headers)
    ).status_code == 403


async def test_changes_from_the_control_page_and_from_programs_are_allowed(harness: Harness) -> None:
    own = {"Origin": f"http://127.0.0.1:{harness.port}", "Sec-Fetch-Site": "same-origin"}

    assert (await harness.client.post(RESET, headers=own)).status_code == 200
    harness.simulator.stuck.set()
    assert (await harness.client.post(RESET)).status_code == 200


async def test_reads_are_allowed_from_every_origin(harness: Harness) -> None:
    """The browser hides the response from a foreign page, because Access-Control-Allow-Origin is missing."""
    response = await harness.client.get("/_flysim/status", headers={"Origin": "https://elsewhere.example"})

    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_two_host_headers_or_none_are_refused() -> None:
    twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"elsewhere.example")])

    assert find_problem("GET", twice) == (
        "Host is localhost, elsewhere.example; expected 127.0.0.1, localhost or [::1]"
    )
    assert find_problem("GET", Headers(raw=[])) is not None
    assert find_problem("GET", Headers(raw=[(b"host", b"localhost")])) is None

"""Requests that the control API refuses: foreign hosts, other computers without the token, other web pages."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from simulator.dashboard.access_guard import cookie_value, is_local, is_loopback
from tests.dashboard.harness import Harness, open_harness

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


LOCAL, OPENED = "127.0.0.1", "127.0.0.2"
TOKEN = "kQ7-a_token.of~this-start"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
FOREIGN_HOST = {"Host": "rebound.example:4280"}
FOREIGN_PAGE = {"Origin": "https://elsewhere.example"}


@pytest.fixture
async def opened() -> AsyncIterator[Harness]:
    """127.0.0.2 stands for an address that other computers can reach: it is not one that flysim always listens on."""
    async with open_harness(hosts=(LOCAL, OPENED), token=TOKEN) as harness:
        harness.simulator.stuck.set()
        yield harness


def at(harness: Harness, listener: str, path: str) -> str:
    return f"http://{listener}:{harness.port}{path}"


@pytest.mark.parametrize(
    ("listener", "headers", "read", "change"),
    [
        # From loopback to loopback: no token, but a loopback Host.
        (LOCAL, {}, 200, 200),
        (LOCAL, {"Host": "localhost"}, 200, 200),
        (LOCAL, {"Authorization": "Bearer of-another-simulator"}, 200, 200),
        (LOCAL, FOREIGN_HOST, 403, 403),
        (LOCAL, {**FOREIGN_HOST, **BEARER}, 403, 403),
        (LOCAL, FOREIGN_PAGE, 200, 403),
        (LOCAL, {"X-Forwarded-For": "10.0.0.9"}, 200, 200),
        # To an address that --control-listen has opened: the token, whatever the other fields say.
        (OPENED, {}, 401, 401),
        (OPENED, {"Host": "127.0.0.1"}, 401, 401),
        (
            OPENED,
            {"Host": "localhost", "X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
            401,
            401,
        ),
        (OPENED, FOREIGN_HOST, 401, 401),
        (OPENED, BEARER, 200, 200),
        (OPENED, {"Authorization": f"bearer  {TOKEN}"}, 200, 200),
        (OPENED, {**BEARER, **FOREIGN_HOST}, 200, 200),
        (OPENED, {**BEARER, "Host": "127.0.0.1"}, 200, 200),
        (OPENED, {**BEARER, **FOREIGN_PAGE}, 200, 403),
        (OPENED, {**BEARER, "Sec-Fetch-Site": "same-site"}, 200, 403),
        (OPENED, {"Authorization": "Bearer"}, 401, 401),
        (OPENED, {"Authorization": f"Bearer {TOKEN}x"}, 401, 401),
        (OPENED, {"Authorization": f"Bearer {TOKEN[:-1]}"}, 401, 401),
        (OPENED, {"Authorization": f"Bearer {TOKEN.upper()}"}, 401, 401),
        (OPENED, {"Authorization": "Bearer \xe9\xff"}, 401, 401),
        (OPENED, {"Authorization": f"Basic {TOKEN}"}, 401, 401),
        (OPENED, {"Authorization": TOKEN}, 401, 401),
        (OPENED, {"Cookie": f"flysim-control-80={TOKEN}; token={TOKEN}"}, 401, 401),
    ],
)
async def test_who_may_read_and_who_may_change(
    opened: Harness, listener: str, headers: dict[str, str], read: int, change: int
) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    for path in ("/", "/_flysim/status", "/v1/apps/chat/machines"):
        assert (await opened.client.get(at(opened, listener, path), headers=raw)).status_code == read, path
    response = await opened.client.post(at(opened, listener, RESET), headers=raw)
    assert response.status_code == change
    assert opened.simulator.resets == (change == 200)


async def test_two_tokens_are_refused(opened: Harness) -> None:
    twice = [("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer other")]
    response = await opened.client.get(at(opened, OPENED, "/_flysim/status"), headers=twice)
    assert response.status_code == 401


async def test_a_refusal_says_what_is_expected_and_does_not_show_the_token(opened: Harness) -> None:
    none = await opened.client.get(at(opened, OPENED, "/_flysim/status"))
    wrong = await opened.client.get(
        at(opened, OPENED, "/_flysim/status"), headers={"Authorization": "Bearer wrong"}
    )

    assert none.headers["www-authenticate"] == wrong.headers["www-authenticate"] == "Bearer"
    assert none.json()["error"].startswith("there is no token; expected: Authorization: Bearer TOKEN, or ")
    assert wrong.json()["error"].startswith("the token is not the one of this simulator; expected: ")
    assert TOKEN not in none.text + wrong.text


async def test_without_a_token_nothing_but_loopback_is_allowed() -> None:
    """A listener without a token cannot be reached, however it came to exist."""
    async with open_harness(hosts=(LOCAL, OPENED)) as harness:
        for headers in (
            {},
            {"Host": "127.0.0.1"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer None"},
        ):
            response = await harness.client.get(at(harness, OPENED, "/_flysim/status"), headers=headers)
            assert response.status_code == 401
        assert (await harness.client.get(at(harness, OPENED, "/?token="))).status_code == 401
        assert (await harness.client.get("/_flysim/status")).status_code == 200


@pytest.mark.parametrize("listener", [LOCAL, OPENED])
async def test_the_link_of_the_page_sets_a_cookie_and_removes_the_token_from_the_address(
    opened: Harness, listener: str
) -> None:
    response = await opened.client.get(at(opened, listener, f"/?token={TOKEN}"))

    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    name_and_value, *attributes = response.headers["set-cookie"].split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=strict"]
    assert name_and_value.startswith(f"flysim-control-{opened.port}=")
    assert TOKEN not in name_and_value


async def test_the_cookie_is_enough_for_the_page_its_events_and_its_changes(opened: Harness) -> None:
    signed_in = await opened.client.get(at(opened, OPENED, f"/?token={TOKEN}"))
    cookie = {"Cookie": "fly-machine-id=1; " + signed_in.headers["set-cookie"].partition(";")[0]}
    own = {**cookie, "Origin": f"http://{OPENED}:{opened.port}", "Sec-Fetch-Site": "same-origin"}
    client = opened.client
    client.cookies.clear()

    assert (await client.get(at(opened, OPENED, "/"), headers=cookie)).status_code == 200
    assert (await client.get(at(opened, OPENED, "/_flysim/status"), headers=cookie)).status_code == 200
    async with client.stream("GET", at(opened, OPENED, "/_flysim/events"), headers=cookie) as events:
        assert events.status_code == 200
    assert (
        await client.post(at(opened, OPENED, RESET), headers={**cookie, **FOREIGN_PAGE})
    ).status_code == 403
    assert (await client.post(at(opened, OPENED, RESET), headers=own)).status_code == 200
    other_port = {"Cookie": cookie["Cookie"].replace(str(opened.port), "80")}
    assert (await client.get(at(opened, OPENED, "/"), headers=other_port)).status_code == 401


def test_a_cookie_is_valid_for_the_address_of_its_client_only() -> None:
    """The apps behind the edges see it, if the edges have the same host name."""
    own, other = ({"client": (address, 40_000)} for address in ("10.0.0.7", "10.0.0.8"))
    assert cookie_value(TOKEN, own) == cookie_value(TOKEN, {"client": ("10.0.0.7", 40_001)})
    assert cookie_value(TOKEN, own) != cookie_value(TOKEN, other)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/?token=wrong", 401),
        ("GET", "/?token=", 401),
        ("GET", f"/?TOKEN={TOKEN}", 401),
        ("GET", f"/_flysim/status?token={TOKEN}", 401),
        ("POST", f"/?token={TOKEN}", 401),
    ],
)
async def test_only_the_link_of_the_page_takes_the_token_from_the_address(
    opened: Harness, method: str, target: str, status: int
) -> None:
    response = await opened.client.request(method, at(opened, OPENED, target))
    assert (response.status_code, "set-cookie" in response.headers) == (status, False)


@pytest.mark.parametrize(
    ("client", "server", "local"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("127.0.0.9", "127.0.0.1", True),
        ("10.0.0.9", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.9", False),
        ("10.0.0.9", "10.0.0.1", False),
        ("172.18.0.1", "172.18.0.3", False),
        (None, "127.0.0.1", False),
        ("127.0.0.1", None, False),
    ],
)
def test_a_connection_is_local_if_both_ends_are(client: str | None, server: str | None, local: bool) -> None:
    scope = {"client": client and (client, 40_000), "server": server and (server, 4280)}
    assert is_local(scope) is local

"""Cookie jar: which cookies are stored, sent, withheld and rejected."""

from __future__ import annotations

import pytest

from simulator.scenario.client.cookie_jar import CookieJar

HOME = "https://chat.fly.dev/rooms/one"


def names(cookie_jar: CookieJar, url: str, now: float = 0.0) -> list[str]:
    return [cookie.name for cookie in cookie_jar.cookies_for(url, now)]


def jar_with(set_cookie: str, url: str = HOME) -> CookieJar:
    cookie_jar = CookieJar()
    assert cookie_jar.store(set_cookie, url, 0.0) is None
    return cookie_jar


def withheld_reason(cookie_jar: CookieJar, url: str, now: float = 0.0) -> str:
    (withheld,) = cookie_jar.withheld(url, now)
    return withheld.reason


@pytest.mark.parametrize(
    ("set_cookie", "url"),
    [
        ("a=1", "https://chat.fly.dev/rooms/two?x"),
        ("a=1", "https://chat.fly.dev/rooms"),
        ("a=1", "https://chat.fly.dev:8443/rooms/"),  # cookies do not depend on the port
        ("a=1", "http://chat.fly.dev/rooms/"),
        ("a=1", "wss://chat.fly.dev/rooms/ws"),
        ("a=1; Path=/", "https://chat.fly.dev/"),
        ("a=1; Path=/rooms/", "https://chat.fly.dev/rooms/x"),
        ("a=1; Secure", "wss://chat.fly.dev/rooms/ws"),
        ("a=1; Max-Age=1", HOME),
        ("a=1; SameSite=Strict", HOME),
        ("a=1; Domain=chat.fly.dev", "https://eu.chat.fly.dev/rooms/"),
        ("__Host-a=1; Secure; Path=/", HOME),
        ("__Secure-a=1; Secure", HOME),
    ],
)
def test_a_cookie_is_sent_to_matching_urls(set_cookie: str, url: str) -> None:
    cookie_jar = jar_with(set_cookie)
    assert names(cookie_jar, url) == [set_cookie.partition("=")[0]]
    assert cookie_jar.withheld(url, 0.0) == ()


@pytest.mark.parametrize(
    ("set_cookie", "url", "reason"),
    [
        ("a=1; Secure; Path=/", "http://chat.fly.dev/", "Secure: the URL is plain http"),
        ("a=1; Secure; Path=/", "ws://chat.fly.dev/", "Secure: the URL is plain http"),
        ("a=1", "https://chat.fly.dev/lobby", "Path=/rooms: the path is /lobby"),
        ("a=1; Path=/room", HOME, "Path=/room: the path is /rooms/one"),
        ("a=1; Path=/", "https://eu.chat.fly.dev/",
         "no Domain, so only for chat.fly.dev: the host is eu.chat.fly.dev"),
        ("a=1; Domain=chat.fly.dev; Path=/", "https://fly.dev/", "Domain=chat.fly.dev: the host is fly.dev"),
        ("a=1; Domain=chat.fly.dev; Path=/", "https://notchat.fly.dev/",
         "Domain=chat.fly.dev: the host is notchat.fly.dev"),
    ],
)  # fmt: skip
def test_a_withheld_cookie_has_a_reason(set_cookie: str, url: str, reason: str) -> None:
    cookie_jar = jar_with(set_cookie)
    assert names(cookie_jar, url) == []
    assert withheld_reason(cookie_jar, url) == reason


def test_a_cookie_expires_on_the_given_clock() -> None:
    cookie_jar = jar_with("a=1; Max-Age=60; Path=/")
    assert names(cookie_jar, HOME, now=59.9) == ["a"]
    assert names(cookie_jar, HOME, now=90.0) == []
    assert withheld_reason(cookie_jar, HOME, now=90.0) == "expired 30 s ago"


@pytest.mark.parametrize(
    ("set_cookie", "url", "reason"),
    [
        ("a=1; Secure", "http://chat.fly.dev/", "Secure: set over plain http, so browsers reject it"),
        ("a=1; Secure", "http://127.0.0.1:8080/",
         "Secure: set over plain http, so browsers reject it"),
        ("a=1; Domain=other.dev", HOME, "Domain=other.dev: set by chat.fly.dev, which is not in that domain"),
        ("a=1; Domain=fly.dev", HOME, "Domain=fly.dev: fly.dev is a public suffix, so browsers reject it"),
        ("a=1; Domain=dev", HOME, "Domain=dev: dev is a public suffix, so browsers reject it"),
        ("__Host-a=1; Secure; Path=/x", HOME, "__Host-a: names with this prefix require Path=/ and no Domain"),
        ("__Secure-a=1", HOME, "__Secure-a: names with this prefix require Secure and https"),
        ("a=1; SameSite=None", HOME, "SameSite=None: browsers reject it without Secure"),
    ],
)  # fmt: skip
def test_a_rejected_cookie_is_reported_with_its_reason(set_cookie: str, url: str, reason: str) -> None:
    """Gallery 18: the session is never sticky; the reason names the attribute."""
    cookie_jar = CookieJar()
    assert cookie_jar.store(set_cookie, url, 0.0) == reason
    assert cookie_jar.cookies() == ()
    assert withheld_reason(cookie_jar, url) == reason


def test_a_valid_cookie_replaces_a_rejected_one() -> None:
    cookie_jar = CookieJar()
    cookie_jar.store("a=1; Secure", "http://chat.fly.dev/", 0.0)
    cookie_jar.store("a=2", "http://chat.fly.dev/", 0.0)
    assert names(cookie_jar, "http://chat.fly.dev/") == ["a"]
    assert cookie_jar.withheld("http://chat.fly.dev/", 0.0) == ()


@pytest.mark.parametrize("end", ["Max-Age=0", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_server_deletes_a_cookie(end: str) -> None:
    cookie_jar = jar_with("a=1; Path=/")
    cookie_jar.store(f"a=; Path=/; {end}", HOME, 1.0)
    assert cookie_jar.cookies() == ()


def test_cookies_with_different_paths_are_different_cookies() -> None:
    cookie_jar = jar_with("a=1; Path=/")
    cookie_jar.store("a=2; Path=/rooms", HOME, 1.0)
    cookie_jar.store("b=3; Path=/", HOME, 2.0)
    cookie_jar.store("a=4; Path=/", HOME, 3.0)
    assert cookie_jar.header_for(HOME, 4.0) == "a=2; b=3; a=4"


def test_a_cookie_of_an_ip_address_is_host_only() -> None:
    cookie_jar = jar_with("a=1; Domain=127.0.0.1; Path=/", "http://127.0.0.1:8080/")
    assert names(cookie_jar, "http://127.0.0.1:8081/") == ["a"]
    assert names(cookie_jar, "http://1.127.0.0.1/") == []


def test_an_empty_jar_sends_no_header() -> None:
    assert CookieJar().header_for(HOME, 0.0) is None


def test_an_invalid_value_is_rejected_with_a_reason() -> None:
    assert CookieJar().store("", HOME, 0.0) == "it has neither a name nor a value"

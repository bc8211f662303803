"""Parser for `Set-Cookie` values and cookie dates."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scenario.client.cookie import (
    MAX_AGE_LIMIT_SECONDS,
    CookieError,
    SetCookie,
    parse_cookie_date,
    parse_set_cookie,
)

TOKENS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=';=, "'), min_size=1, max_size=30
)


@pytest.mark.parametrize(
    ("text", "cookie"),
    [
        ("a=b", SetCookie("a", "b")),
        (" a = b c ; ", SetCookie("a", "b c")),
        ("a=b=c", SetCookie("a", "b=c")),
        ('a="b"', SetCookie("a", '"b"')),
        ("alone", SetCookie("", "alone")),
        ("a=", SetCookie("a", "")),
        ("a=b; Path=/x; Domain=.Example.COM", SetCookie("a", "b", domain="example.com", path="/x")),
        ("a=b; path=x", SetCookie("a", "b")),
        ("a=b; Path=/x; Path=/y", SetCookie("a", "b", path="/y")),
        ("a=b; Max-Age=60; max-age=x", SetCookie("a", "b", max_age_seconds=60)),
        ("a=b; Max-Age=-1", SetCookie("a", "b", max_age_seconds=-1)),
        ("a=b; Max-Age=1.5", SetCookie("a", "b")),
        ("a=b; Expires=Thu, 01 Jan 1970 00:00:00 GMT", SetCookie("a", "b", expires_at=0.0)),
        (
            "a=b; Secure; HttpOnly; SameSite=lax",
            SetCookie("a", "b", secure=True, http_only=True, same_site="Lax"),
        ),
        ("a=b; SameSite=Whatever; Priority=High; ;", SetCookie("a", "b")),
        (f"a=b; Path=/{'x' * 1100}", SetCookie("a", "b")),
    ],
)
def test_a_value_is_parsed_as_in_browsers(text: str, cookie: SetCookie) -> None:
    assert parse_set_cookie(text) == cookie


@pytest.mark.parametrize("text", ["", ";", "=", " = ; Path=/", "a=b\x00", "a\x7f=b", f"a={'x' * 4097}"])
def test_a_value_that_browsers_ignore_raises_a_cookie_error(text: str) -> None:
    with pytest.raises(CookieError):
        parse_set_cookie(text)


@given(
    TOKENS,
    TOKENS,
    st.booleans(),
    st.sampled_from([None, "Strict", "Lax", "None"]),
    st.integers(-10, 10**9),
)
def test_a_valid_value_is_parsed_into_its_attributes(
    name: str, value: str, secure: bool, same_site: str | None, age: int
) -> None:
    text = f"{name}={value}; Max-Age={age}"
    text += "; Secure" if secure else ""
    text += f"; SameSite={same_site}" if same_site else ""
    assert parse_set_cookie(text) == SetCookie(
        name, value, max_age_seconds=age, secure=secure, same_site=same_site
    )


@given(st.text(max_size=200))
def test_any_text_parses_or_raises_a_cookie_error(text: str) -> None:
    try:
        cookie = parse_set_cookie(text)
    except CookieError:
        return
    assert cookie.name or cookie.value


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "6 november 1994 8:49:37",
        "Sun, 06-Nov-1994 08:49:37.123 GMT",
    ],
)
def test_dates_are_parsed_in_all_formats(text: str) -> None:
    assert parse_cookie_date(text) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "soon", "06 Nov 1994", "30 Feb 1994 08:00:00", "06 Nov 1600 08:49:37", "06 Nov 1994 25:00:00"],
)
def test_an_invalid_date_is_none(text: str) -> None:
    assert parse_cookie_date(text) is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)))  # noqa: DTZ001 - UTC is set below
def test_every_http_date_is_parsed(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=UTC)
    assert parse_cookie_date(
        moment.strftime("%a, %d %b ") + f"{moment.year:04}" + moment.strftime(" %H:%M:%S GMT")
    ) == (moment.timestamp())


@given(st.text(max_size=60))
def test_any_text_is_a_date_or_none(text: str) -> None:
    assert parse_cookie_date(text) is None or isinstance(parse_cookie_date(text), float)


def test_max_age_takes_precedence_over_expires() -> None:
    assert SetCookie("a", "b", max_age_seconds=10, expires_at=5.0).expiry_time(100.0) == 110.0


def test_no_cookie_lives_longer_than_400_days() -> None:
    """Gallery 4: the server sets a lifetime of 16 years instead of the intended six days."""
    assert SetCookie("a", "b", max_age_seconds=518_400_000).expiry_time(0.0) == MAX_AGE_LIMIT_SECONDS
    assert SetCookie("a", "b", expires_at=1e12).expiry_time(0.0) == MAX_AGE_LIMIT_SECONDS
    assert SetCookie("a", "b").expiry_time(0.0) is None

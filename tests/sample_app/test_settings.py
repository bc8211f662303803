"""Settings from environment variables, and the errors for invalid values."""

from __future__ import annotations

import pytest

from sample_app.settings import SettingError, Settings, parse_address, read_settings


def test_without_variables_every_setting_has_its_default() -> None:
    settings = read_settings({})
    assert settings == Settings()
    assert (settings.port, settings.region, settings.machine_id, settings.memory_mb) == (8080, *["blank"] * 3)
    assert settings.cookie_max_age_seconds == 6 * 24 * 60 * 60


def test_an_empty_variable_counts_as_not_set() -> None:
    assert read_settings({"FLY_REGION": "", "PORT": "", "STREAM_DESIGN": "", "DNS_SERVER": ""}) == Settings()


def test_the_cookie_may_live_sixteen_years_as_in_the_write_up() -> None:
    assert (
        read_settings({"COOKIE_MAX_AGE_SECONDS": "518400000"}).cookie_max_age_seconds
        > 16 * 365 * 24 * 60 * 60
    )


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", ("127.0.0.1", 53)),
        ("127.0.0.1:5353", ("127.0.0.1", 5353)),
        ("fdaa::3", ("fdaa::3", 53)),
        ("[fdaa::3]", ("fdaa::3", 53)),
        ("[fdaa::3]:5353", ("fdaa::3", 5353)),
    ],
)
def test_a_name_server_is_an_address_with_or_without_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PORT", "http", "PORT is 'http', expected an integer such as 8080"),
        ("PORT", "-1", "PORT is '-1', expected an integer such as 8080"),
        (
            "COOKIE_MAX_AGE_SECONDS",
            "6d",
            "COOKIE_MAX_AGE_SECONDS is '6d', expected an integer such as 518400",
        ),
        (
            "DISCOVER_EVERY_SECONDS",
            "0",
            "DISCOVER_EVERY_SECONDS is '0', expected a number of seconds such as 10",
        ),
        (
            "DISCOVER_EVERY_SECONDS",
            "nan",
            "DISCOVER_EVERY_SECONDS is 'nan', expected a number of seconds such as 10",
        ),
        ("STREAM_DESIGN", "glue", "STREAM_DESIGN is 'glue', expected sticky or copy"),
        ("STICKY_GUARD", "yes", "STICKY_GUARD is 'yes', expected 0 or 1"),
        ("STALE_DIRECTORY", "both", "STALE_DIRECTORY is 'both', expected self or bounce"),
        ("DNS_SERVER", "dns", "DNS_SERVER is 'dns', expected an address such as 127.0.0.1:53 or fdaa::3"),
        (
            "DNS_SERVER",
            "127.0.0.1:",
            "DNS_SERVER is '127.0.0.1:', expected an address such as 127.0.0.1:53 or fdaa::3",
        ),
    ],
)
def test_an_invalid_value_is_an_error_that_names_what_was_expected(
    name: str, value: str, expected: str
) -> None:
    with pytest.raises(SettingError) as raised:
        read_settings({name: value})
    assert str(raised.value) == expected

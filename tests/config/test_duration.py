"""Duration strings in Go's format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config import format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("15s", 15), ("1m30s", 90), ("1m0s", 60), ("500ms", 0.5), ("1.5h", 5400), (".5s", 0.5), ("2h", 7200),
        ("250us", 0.00025), ("250µs", 0.00025), ("10ns", 1e-8), (" 3s ", 3), ("0", 0), (2000, 2), (1.5, 0.0015),
        ("2000", 2),
    ],
)  # fmt: skip
def test_a_duration_is_parsed(written: object, seconds: float) -> None:
    """F-5.20: for a check, a number without a unit is in milliseconds."""
    assert parse_duration(written, unit="ms") == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "s",
        "15",
        15,
        "15 s",
        "15sec",
        "-1s",
        "1e3s",
        "1d",
        "soon",
        "1s500",
        "٣s",
        None,
        True,
        [],
        "9" * 400 + "s",
    ],
)
def test_an_invalid_duration_is_an_error(written: object) -> None:
    with pytest.raises(ValueError, match="a duration"):
        parse_duration(written)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1, 10**400])
def test_an_out_of_range_number_is_an_error(number: float) -> None:
    with pytest.raises(ValueError, match="out of range"):
        parse_duration(number, unit="s")


@given(milliseconds=st.integers(0, 3_600_000))
def test_a_formatted_duration_is_parsed_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-5)

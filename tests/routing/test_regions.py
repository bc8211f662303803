from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.routing.regions import ALIASES, REGIONS, distance_km, is_region, members

# F-7.20: code, latitude, longitude.
CURRENT = """
    ams 52 5, arn 60 18, bom 19 73, cdg 49 3, dfw 33 -97, ewr 41 -74, fra 50 9, gru -23 -46, iad 39 -77, jnb -26 28,
    lax 34 -118, lhr 51 0, nrt 36 140, ord 42 -88, sin 1 104, sjc 37 -122, syd -34 151, yyz 44 -80
"""
# F-7.21: removed in October 2025.
REMOVED = """
    atl 34 -84, bog 5 -74, bos 42 -71, den 40 -105, eze -35 -59, gdl 21 -103, gig -23 -43, hkg 22 114, mad 40 -4,
    mia 26 -80, otp 45 26, phx 33 -112, qro 21 -100, scl -33 -71, sea 47 -122, waw 52 21, yul 45 -74
"""


def coordinates(table: str) -> dict[str, tuple[float, float]]:
    rows = [row.split() for row in table.split(",")]
    return {code: (float(latitude), float(longitude)) for code, latitude, longitude in rows}


def test_the_current_regions_are_those_of_the_facts() -> None:
    """F-7.20"""
    current = {code: region for code, region in REGIONS.items() if region.current}
    assert {code: (r.latitude, r.longitude) for code, r in current.items()} == coordinates(CURRENT)


def test_removed_regions_are_still_known() -> None:
    """F-7.21, and the former edge-only regions of F-7.22: examples in Fly's documentation use them."""
    removed = coordinates(REMOVED)
    assert {code: (REGIONS[code].latitude, REGIONS[code].longitude) for code in removed} == removed
    former = {code for code, region in REGIONS.items() if not region.current}
    assert former == set(removed) | {"maa", "dxb", "ist", "mel"}


@pytest.mark.parametrize(
    ("alias", "codes"),
    [
        ("us", "dfw ewr iad lax ord sjc"),
        ("usa", "dfw ewr iad lax ord sjc"),
        ("na", "dfw ewr iad lax ord sjc yyz"),
        ("sa", "gru"),
        ("eu", "ams arn cdg fra lhr"),
        ("apac", "bom nrt sin syd"),
    ],
)
def test_an_alias_means_its_regions(alias: str, codes: str) -> None:
    """F-1.18; membership F-7.27, K-29"""
    assert members(alias) == frozenset(codes.split())


def test_there_are_no_other_aliases_and_jnb_is_in_none() -> None:
    """F-1.18, F-1.19, F-7.27"""
    assert set(ALIASES) == {"us", "usa", "na", "sa", "eu", "apac"}
    assert not any("jnb" in codes for codes in ALIASES.values())


@pytest.mark.parametrize(("code", "codes"), [("any", None), ("iad", {"iad"}), ("xyz", {"xyz"})])
def test_any_means_all_regions_and_a_code_means_itself(code: str, codes: set[str] | None) -> None:
    """F-1.18; an unknown code means itself, a region without machines (K-30)"""
    assert members(code) == codes


@pytest.mark.parametrize(
    ("code", "known"), [("ams", True), ("sea", True), ("any", False), ("eu", False), ("AMS", False)]
)
def test_only_a_code_is_a_region(code: str, known: bool) -> None:
    """F-7.24"""
    assert is_region(code) is known


@pytest.mark.parametrize(
    ("one", "other", "kilometres"),
    [
        ("ams", "ams", 0),
        ("ams", "dfw", 7_900),
        ("lhr", "syd", 17_000),
        ("sjc", "nrt", 8_300),
        ("gru", "jnb", 7_400),
    ],
)
def test_the_distance_is_the_great_circle_distance(one: str, other: str, kilometres: float) -> None:
    assert distance_km(one, other) == pytest.approx(kilometres, rel=0.02)


@pytest.mark.parametrize(("one", "other", "distance"), [("ams", "xyz", float("inf")), ("xyz", "xyz", 0.0)])
def test_an_unknown_region_is_infinitely_far_from_all_others(one: str, other: str, distance: float) -> None:
    assert distance_km(one, other) == distance_km(other, one) == distance


@given(st.sampled_from(sorted(REGIONS)), st.sampled_from(sorted(REGIONS)))
def test_the_distance_is_symmetric_and_at_most_half_the_circumference(one: str, other: str) -> None:
    assert distance_km(one, other) == pytest.approx(distance_km(other, one))
    assert (distance_km(one, other) == 0) is (one == other)
    assert distance_km(one, other) < 20_016

from __future__ import annotations

import pytest

from simulator.routing import RoutingOptions
from simulator.routing.options import MAX_REPLAYS, ROUTING_SECONDS


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("replay_body_limit_bytes", 1_048_576),  # K-1, F-1.34
        ("replay_error_status", 502),  # K-2, F-1.99
        ("no_candidate_status", 502),  # K-3, F-6.60
        ("replay_error_seconds", 7.5),  # K-6, F-1.51
        ("lenient_region_list", False),  # K-8
        ("strip_forged_headers", True),  # K-15
        ("attempts", 40),  # K-33, F-5.42
    ],
)
def test_each_choice_that_fly_leaves_open_has_the_default_of_the_facts(option: str, default: object) -> None:
    """X-1, X-6, F-6.3, F-10.3"""
    assert getattr(RoutingOptions(), option) == default


def test_what_is_no_choice_is_as_the_facts_say() -> None:
    """F-1.38, F-10.2; F-10.5: about 8 s"""
    assert (MAX_REPLAYS, ROUTING_SECONDS) == (10, 8.0)

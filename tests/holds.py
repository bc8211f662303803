"""The marker with which a test cites a fact of docs/facts.tsv that it proves."""

from __future__ import annotations

import pytest


def holds(fact: str, *parts: str) -> pytest.MarkDecorator:
    """Cite a fact, and name what of it the test shows.

    On a test function, or in the `marks` of one case of a table. The test fails if the fact is not so in flysim, and
    its expectation comes from the fact, not from the code under test. An id in prose or in a comment proves nothing.

        @holds("F-5.20", "the check begins after the grace period")
    """
    assert parts, f"holds({fact!r}): expected the part that the test shows"
    return pytest.mark.holds(fact, *parts)

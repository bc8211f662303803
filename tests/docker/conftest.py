"""Fixtures for tests with a Docker engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import MUST_RUN, why_no_engine
from tests.docker import swarm as swarms


@pytest.fixture(scope="session")
def swarm() -> Iterator[None]:
    """A swarm, and the image of the test app."""
    if not MUST_RUN and (reason := why_no_engine()):
        pytest.skip(reason)
    swarms.build_image()
    with swarms.swarm():
        yield

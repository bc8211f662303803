"""What the tests with an engine share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.docker import swarm as swarms

MUST_RUN = "docker" in os.environ.get("FLYSIM_MUST_RUN", "")


@pytest.fixture(scope="session")
def swarm() -> Iterator[None]:
    """A swarm, and the image of the tests' app. Skips where no engine answers, unless the tests must run."""
    if not MUST_RUN and not swarms.has_engine():
        pytest.skip("no Docker engine answers on this machine")
    swarms.build_image()
    with swarms.swarm():
        yield

"""Tests marked `docker` need an engine: they are skipped with the reason where none answers, unless they must run."""

from __future__ import annotations

import asyncio
import os
from functools import cache

import pytest

from simulator.errors import EnvironmentFault

MUST_RUN = "docker" in os.environ.get("FLYSIM_MUST_RUN", "")


@cache
def why_no_engine() -> str | None:
    from simulator.machines.docker.engine import Engine

    try:
        asyncio.run(Engine.connect()).close()
    except EnvironmentFault as fault:
        return str(fault.problem)
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and not MUST_RUN and (reason := why_no_engine()):
        pytest.skip(reason)

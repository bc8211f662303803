"""Rules of all tests: no error that asyncio only logs; tests marked `docker` need an engine.

Tests marked `docker` are skipped with the reason where no engine answers, unless they must run.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Iterator
from functools import cache

import pytest

from simulator.errors import EnvironmentFault
from tests.asyncio_errors import LoggedErrors

MUST_RUN = "docker" in os.environ.get("FLYSIM_MUST_RUN", "")
_ASYNCIO_ERRORS = LoggedErrors()


@cache
def why_no_engine() -> str | None:
    from simulator.machines.docker.engine import Engine

    try:
        asyncio.run(Engine.connect()).close()
    except EnvironmentFault as fault:
        return str(fault.problem)
    return None


def pytest_configure(config: pytest.Config) -> None:
    logger = logging.getLogger("asyncio")
    logger.addHandler(_ASYNCIO_ERRORS)
    config.add_cleanup(lambda: logger.removeHandler(_ASYNCIO_ERRORS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("docker"):  # the Docker SDK leaves sockets to the garbage collector
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


def pytest_collection_finish() -> None:
    # So that a collection after a test looks at the objects of that test only: 3 ms on average.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and not MUST_RUN and (reason := why_no_engine()):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail a test that left an error of asyncio behind. Its event loop is closed at this point.

    Tests marked `asyncio_errors` cause one on purpose.
    """
    result = yield
    errors = [*_collect_garbage(), *_ASYNCIO_ERRORS.take()]
    if errors and not item.get_closest_marker("asyncio_errors"):
        pytest.fail("left behind:\n" + "\n".join(errors), pytrace=False)
    return result


def _collect_garbage() -> list[str]:
    """The exceptions in finalizers. pytest has collected those of this test before, and would blame the next test."""
    errors: list[str] = []
    previous = sys.unraisablehook
    sys.unraisablehook = lambda error: errors.append(f"{error.exc_value!r} in {error.object!r}")
    try:
        gc.collect()
    finally:
        sys.unraisablehook = previous
    return errors

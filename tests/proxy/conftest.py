"""Fixtures of the proxy tests; the harness checks at the end of each test that the proxy left nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.proxy.harness import Harness, open_harness


@pytest.fixture(scope="session", autouse=True)
def _own_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A certificate authority for these tests, separate from the user's; the first test with TLS creates it."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def _own_crash_reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder for the reports of the bugs that tests cause."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("reports")))
        yield


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness() as harness:
        yield harness

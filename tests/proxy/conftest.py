"""Fixtures of the proxy tests; the harness checks at the end of each test that the proxy left nothing behind."""

from __future__ import annotations

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


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness() as harness:
        yield harness

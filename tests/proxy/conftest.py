"""The stage for every test of this ring; it proves at its end that the proxy left nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.proxy.harness import Harness, open_harness


@pytest.fixture(scope="session", autouse=True)
def _own_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The certificate authority of these tests, not the user's; made once, by the first test with TLS."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    async with open_harness() as harness:
        yield harness

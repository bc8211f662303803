"""Test support for packages that extend flysim: the contract suite for backends.

    class TestMyBackend(BackendContract):
        def make_backend(self):
            return MyBackend()

Needs pytest and pytest-asyncio, which flysim itself does not install. docs/extending.md has a complete example.
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("simulator.testing.backend_contract", "simulator.testing.observation")

from simulator.testing.backend_contract import BackendContract  # noqa: E402 - after the line above
from simulator.testing.observation import (  # noqa: E402
    INTERNAL_PORT,
    RecordingObserver,
    answers,
    becomes_reachable,
    eventually,
    machine_id,
    machine_spec,
)

__all__ = [
    "INTERNAL_PORT",
    "BackendContract",
    "RecordingObserver",
    "answers",
    "becomes_reachable",
    "eventually",
    "machine_id",
    "machine_spec",
]

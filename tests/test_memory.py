"""A long-running flysim returns freed memory to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import psutil
from simulator.memory import prepare_for_long_run

prepare_for_long_run()
rss = psutil.Process().memory_info
large = b"x" * 20_000_000
del large
before = rss().rss
blocks = [b"x" * 100_000 for _ in range(300)]
grown = rss().rss - before
del blocks
print(grown, rss().rss - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc keeps freed memory like this"
)
def test_memory_freed_after_a_large_block_is_returned() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    grown, kept = map(int, result.stdout.split())
    assert grown > 25_000_000
    assert kept < 2_000_000

"""The benchmark: its pieces run, and docs/performance.md has its rows. No test depends on its numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.row import Row, as_markdown, as_text

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
SMALL = {"BENCH_ROUNDS": "1", "BENCH_SECONDS": "0.1", "BENCH_WEBSOCKETS": "5", "BENCH_MACHINES": "2"}


def names(table: str) -> list[str]:
    """The first cells of a Markdown table, without numbers."""
    cells = re.findall(r"^\| ([^|]+) \|", table, flags=re.MULTILINE)
    return [re.sub(r"[\d,]+", "N", cell.strip()) for cell in cells if cell.strip() not in ("what", "---")]


@pytest.mark.parametrize("section", ["start", "routing"])
def test_each_row_of_the_benchmark_is_in_the_documentation(section: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--markdown"],
        cwd=ROOT,
        env={**os.environ, **SMALL, "ONLY": section},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(names(done.stdout)) >= 2
    assert set(names(done.stdout)) <= set(names(PAGE.read_text()))


def test_an_unknown_section_is_reported() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench"],
        cwd=ROOT,
        env={**os.environ, "ONLY": "everything"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "ONLY=everything is unknown\n  expected: rates, start, routing\n"


def test_the_table_has_minimum_median_and_maximum() -> None:
    rows = [Row("rate", "/s", [1000.0, 3000.0, 2000.0], ">= 1"), Row("time", "s", [0.25])]
    assert as_text(rows).splitlines() == [
        "what  unit    min  median    max  target",
        "rate  /s    1,000   2,000  3,000  >= 1",
        "time  s      0.25    0.25   0.25",
    ]
    assert "| rate | /s | 1,000 | 2,000 | 3,000 | >= 1 |" in as_markdown(rows)

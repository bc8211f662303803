"""Row of the benchmark's table: the values of all rounds, and the target."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    unit: str
    values: list[float]
    target: str = ""

    def cells(self) -> tuple[str, ...]:
        """Name, unit, minimum, median, maximum and target, as text."""
        numbers = (min(self.values), statistics.median(self.values), max(self.values))
        return (self.name, self.unit, *(_number(value) for value in numbers), self.target)


HEADINGS = ("what", "unit", "min", "median", "max", "target")


def as_text(rows: list[Row]) -> str:
    """The table for a terminal."""
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(_aligned(line, widths)).rstrip() for line in cells)


def as_markdown(rows: list[Row]) -> str:
    """The table of docs/performance.md."""
    lines = [HEADINGS, ("---", "---", "---:", "---:", "---:", "---"), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _aligned(line: tuple[str, ...], widths: list[int]) -> list[str]:
    is_number = (False, False, True, True, True, False)
    return [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(line, widths, is_number, strict=True)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"

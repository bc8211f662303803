"""Reader of `docs/deviations.tsv`: where flysim knowingly does not do what an RFC requires of a proxy."""

from __future__ import annotations

import csv
from dataclasses import dataclass

from tests.fidelity.fact import ROOT

TABLE = ROOT / "docs" / "deviations.tsv"
FOLDER = ROOT / "tests" / "proxy" / "conformance"
"""The folder of the tests that the table names."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """One row of the table. `test` shows what flysim does: a file, a function, and the name of a case, if any."""

    rule: str
    required: str
    actual: str
    reason: str
    test: str

    @property
    def path(self) -> str:
        return self.test.partition("::")[0]

    @property
    def function(self) -> str:
        return self.test.partition("::")[2].partition("[")[0]

    @property
    def case(self) -> str:
        return self.test.partition("[")[2].removesuffix("]").rpartition(": ")[2]


def read_deviations() -> list[Deviation]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [Deviation(*row) for row in rows]

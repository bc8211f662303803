"""docs/findings.md tells every finding and every code, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from simulator.diagnosis import FINDINGS
from simulator.routing.errors import CODES

PAGE = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.*?) ?\|$", PAGE, re.MULTILINE)


def test_every_finding_and_every_code_has_its_row_with_cause_and_mend() -> None:
    assert [row[0] for row in ROWS] == [*FINDINGS, *CODES]
    assert all(cause for _, cause, _ in ROWS)
    assert all(mend for id, _, mend in ROWS if id in FINDINGS)


def test_findings_that_stand_beside_a_code_exist() -> None:
    named = {id for code, _, beside in ROWS if code in CODES for id in re.findall(r"`([a-z-]+)`", beside)}
    assert named <= set(FINDINGS)

"""docs/findings.md documents every finding and every error code, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from simulator.diagnosis import FINDINGS
from simulator.routing.errors import CODES

PAGE = (Path(__file__).parents[2] / "docs" / "findings.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.*?) ?\|$", PAGE, re.MULTILINE)


def test_every_finding_and_every_code_has_a_row_with_cause_and_fix() -> None:
    assert [row[0] for row in ROWS] == [*FINDINGS, *CODES]
    assert all(cause for _, cause, _ in ROWS)
    assert all(fix for id, _, fix in ROWS if id in FINDINGS)


def test_the_findings_listed_for_a_code_exist() -> None:
    listed = {
        id for code, _, findings in ROWS if code in CODES for id in re.findall(r"`([a-z-]+)`", findings)
    }
    assert listed <= set(FINDINGS)

"""Each known deviation from an RFC is complete and has a test that shows it."""

from __future__ import annotations

import pytest

from tests.fidelity.deviation import FOLDER, Deviation, read_deviations
from tests.fidelity.page import make_page

DEVIATIONS = read_deviations()


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda each: each.rule)
def test_a_deviation_has_a_test_that_shows_it(deviation: Deviation) -> None:
    assert deviation.rule.startswith("RFC ")
    assert all((deviation.required, deviation.actual, deviation.reason))
    assert f"def {deviation.function}(" in (FOLDER / deviation.path).read_text(encoding="utf-8")
    tables = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py"))
    assert not deviation.case or f'"{deviation.case}"' in tables


def test_deviations_are_in_the_order_of_their_rules_except_the_last_protocol() -> None:
    http = [deviation.rule for deviation in DEVIATIONS if deviation.rule.startswith("RFC 911")]
    assert len(http) >= 9
    assert len({deviation.test for deviation in DEVIATIONS}) == len(DEVIATIONS)


def test_the_page_has_every_deviation() -> None:
    page = make_page()
    assert page.count("\n## Known deviations") == 1
    for deviation in DEVIATIONS:
        assert f"| {deviation.rule} |" in page

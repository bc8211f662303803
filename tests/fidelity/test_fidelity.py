"""Each fact has one verdict with a reason, and docs/fidelity.md is up to date."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from tests.fidelity.citation import Citations, collect, texts_by_test
from tests.fidelity.fact import TABLE, Fact, cited_ids, expand, read_facts
from tests.fidelity.page import MIN_TESTED_SHARE, PAGE, covered_share, make_page
from tests.fidelity.verdict import NOT_EMULATED, Kind, judge, read_keys


@pytest.fixture(scope="module")
def facts() -> dict[str, Fact]:
    return read_facts()


@pytest.fixture(scope="module")
def citations(facts: dict[str, Fact]) -> Citations:
    return collect(facts)


def test_the_table_is_sorted_and_each_row_is_complete(facts: dict[str, Fact]) -> None:
    for fact in facts.values():
        assert re.fullmatch(r"[FKPX]-[\d.]+", fact.id)
        assert re.fullmatch(r"(\[[DCMS]\] ?)*", fact.tags), fact.id
        assert 0 < len(fact.text) <= 120, fact.id
        assert fact.source, fact.id
    for section, count in Counter(fact.section for fact in facts.values()).items():
        numbers = [int(re.split(r"[.-]", fact.id)[-1]) for fact in facts.values() if fact.section == section]
        assert numbers == sorted(numbers), f"section {section}"
        assert count == len(set(numbers)), f"section {section}"


def test_the_table_has_all_facts(facts: dict[str, Fact]) -> None:
    number = Counter(fact.partition("-")[0] for fact in facts)
    assert number == {"F": 401, "K": 45, "P": 35, "X": 12}


def test_every_fact_has_a_verdict(facts: dict[str, Fact], citations: Citations) -> None:
    verdicts = judge(facts, citations)
    missing = [f"{fact.id}: {fact.text}" for fact in facts.values() if fact.id not in verdicts]
    assert not missing, "no test cites it, no key configures it, no reason is given:\n" + "\n".join(missing)


def test_no_fact_is_both_tested_and_not_emulated(facts: dict[str, Fact], citations: Citations) -> None:
    both = [
        f"{fact}: {reason!r}, but {citations[fact][0]} cites it"
        for fact, reason in expand(NOT_EMULATED, facts).items()
        if fact in citations
    ]
    assert not both, "\n".join(both)


def test_every_cited_fact_is_in_the_table(facts: dict[str, Fact], citations: Citations) -> None:
    unknown = [f"{fact}: {tests[0]}" for fact, tests in citations.items() if fact not in facts]
    not_emulated = [fact for fact in expand(NOT_EMULATED, facts) if fact not in facts]
    assert not [*unknown, *not_emulated], f"not in {TABLE.name}"


def test_every_tested_fact_has_a_test_that_cites_it(facts: dict[str, Fact], citations: Citations) -> None:
    for fact, verdict in judge(facts, citations).items():
        if verdict.kind is Kind.TESTED:
            assert verdict.citations, fact
            assert all((TABLE.parents[1] / test.path).is_file() for test in verdict.citations), fact


def test_every_key_has_a_fact_and_every_open_question_has_a_key(facts: dict[str, Fact]) -> None:
    keys = read_keys()
    assert set(keys) <= set(facts)
    # K-44: the private network has no proxy, so there is nothing to configure.
    assert {fact for fact in facts if fact.startswith("K-")} - set(keys) == {"K-44"}


def test_every_fact_has_one_of_the_three_verdicts(facts: dict[str, Fact], citations: Citations) -> None:
    number = Counter(verdict.kind for verdict in judge(facts, citations).values())
    assert number[Kind.TESTED] + number[Kind.CONFIGURABLE] + number[Kind.NOT_EMULATED] == len(facts)


def test_tests_cover_most_of_what_fly_documents(facts: dict[str, Fact], citations: Citations) -> None:
    tested, rules = covered_share(facts, judge(facts, citations))
    assert tested / rules >= MIN_TESTED_SHARE, f"{tested} of {rules}"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(), "run: make fidelity"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("F-1.2, K-13 (gallery 4)", "F-1.2 K-13"),
        ("F-3.2 to F-3.4", "F-3.2 F-3.3 F-3.4"),
        ("F-3.2–F-3.4.", "F-3.2 F-3.3 F-3.4"),
        ("P-1 … P-3", "P-1 P-2 P-3"),
        ("F-6.57 to F-6.60", "F-6.57 F-6.60"),
        ("UTF-8, XF-1.2, F-1, K-1a, X-1.2 and HTTP-2", ""),
        ("F-1.2.", "F-1.2"),
        ("F-1.2. Not emulated: F-1.3, F-1.4\nF-1.5", "F-1.2 F-1.5"),
    ],
)
def test_ids_and_ranges_are_found_in_a_text(text: str, ids: str, facts: dict[str, Fact]) -> None:
    assert cited_ids(text, facts) == set(ids.split())


def test_a_reversed_range_is_refused(facts: dict[str, Fact]) -> None:
    with pytest.raises(ValueError, match="not a range"):
        cited_ids("F-3.4 to F-3.2", facts)


def test_two_reasons_for_one_fact_are_refused(facts: dict[str, Fact]) -> None:
    with pytest.raises(ValueError, match="two texts"):
        expand({"one": "F-1.1", "another": "F-1.1 to F-1.3"}, facts)


MODULE = '''
"""F-9.1 is not cited by any test."""
TABLE = [
    1,  # F-9.2
]
# F-9.3
OTHER = "F-9.4"


def setup():
    """F-9.5"""


# F-9.6
@mark("F-9.7")
async def test_one(name):
    """F-9.8"""
    assert TABLE, f"F-9.10 {name}"  # F-9.9


def test_two():
    assert not OTHER
'''


def test_a_test_cites_the_ids_in_its_text_and_in_its_tables(facts: dict[str, Fact]) -> None:
    cited = {name: cited_ids(text, facts) for name, text in texts_by_test(MODULE)}
    assert cited == {
        "test_one": {f"F-9.{number}" for number in (2, 6, 7, 8, 9, 10)},
        "test_two": {"F-9.3", "F-9.4"},
    }


def test_a_scenario_cites_all_ids_in_its_file(tmp_path: Path, facts: dict[str, Fact]) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "scenarios" / "patterns").mkdir(parents=True)
    (tmp_path / "scenarios" / "patterns" / "one.yaml").write_text("# F-1.1\nname: P-1 by a cookie\n")
    found = {fact: [str(test) for test in tests] for fact, tests in collect(facts, tmp_path).items()}
    assert found == {"F-1.1": ["scenarios/patterns/one.yaml"], "P-1": ["scenarios/patterns/one.yaml"]}

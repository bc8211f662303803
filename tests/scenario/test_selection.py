"""Selection of scenarios with `-k`."""

from __future__ import annotations

import pytest

from simulator.errors import InputError
from simulator.scenario import load_scenarios, select
from simulator.scenario.file.selection import parse_expression
from tests.scenario.conftest import Write

WORDS = "the stale cookie of a stopped machine scenarios/stale-cookie.yaml"


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("cookie", True),
        ("COOKIE", True),
        ("stale-cookie.yaml", True),
        ("cake", False),
        ("cookie and cake", False),
        ("cookie or cake", True),
        ("not cookie", False),
        ("not not cookie", True),
        ("not cake and cookie", True),
        ("cake or not (cookie and cake)", True),
        ("cake and cake or cookie", True),
        ("'stale cookie'", True),
        ('"cookie stale"', False),
    ],
)
def test_expressions_work_as_in_pytest(expression: str, matches: bool) -> None:
    assert parse_expression(expression)(WORDS) is matches


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("and", 'unexpected "and"'),
        ("a b", 'unexpected "b"'),
        ("a and", 'unexpected end after "and"'),
        ("(a", 'unexpected end after "a"'),
        ("a )", 'unexpected ")"'),
        ("not", 'unexpected end after "not"'),
        ("'a", "unclosed quote"),
    ],
)
def test_an_invalid_expression_is_an_error(expression: str, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_expression(expression)
    assert problem in str(raised.value)


def test_scenarios_are_selected_by_name_path_and_tag(write: Write) -> None:
    paths = [
        write("- request: /", name="one.yaml", head="version: 1\nname: First\nconfig: x\ntags: fast\n"),
        write("- request: /", name="two.yaml", head="version: 1\nname: Second\nconfig: x\n"),
    ]
    scenarios = load_scenarios(paths)
    assert select(scenarios, None) == scenarios
    assert select(scenarios, " ") == scenarios
    for expression in ("first", "one.yaml", "fast", "not second"):
        assert [scenario.name for scenario in select(scenarios, expression)] == ["First"]
    with pytest.raises(InputError, match="matches none of 2 scenarios"):
        select(scenarios, "third")

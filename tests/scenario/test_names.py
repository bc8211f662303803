"""Placeholders in strings of a scenario."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.scenario.names import find_placeholders, render, render_all


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("/?instance={dfw-1.id}", "/?instance=<dfw-1.id>"),
        ("{a}{b}", "<a><b>"),
        ("{chat/dfw-1.id}", "<chat/dfw-1.id>"),
        ("{{dfw-1.id}}", "{dfw-1.id}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ('{"a": {"b": "{token}"}}', '{"a": {"b": "<token>"}}'),
        ("[0-9]{3} {3,4} {}", "[0-9]{3} {3,4} {}"),
        ("${HOME} $HOME {home}", "${HOME} $HOME <home>"),
        ("{ a }", "{ a }"),
    ],
)
def test_only_a_brace_with_a_name_in_it_is_a_placeholder(text: str, rendered: str) -> None:
    assert render(text, lambda name: f"<{name}>") == rendered


@given(st.text(st.characters(exclude_characters="{")))
def test_text_without_braces_stays_as_it_is(text: str) -> None:
    assert render(text, lambda name: "?") == text
    assert list(find_placeholders(text)) == []


def test_placeholders_in_lists_mappings_and_keys_are_rendered() -> None:
    value = {"{a}": ["{b}", 1, None, {"c": "{{d}}"}]}
    assert render_all(value, str.upper) == {"A": ["B", 1, None, {"c": "{d}"}]}


def test_placeholders_are_found() -> None:
    assert list(find_placeholders("{a} {{b}} {c.id} ${d}")) == ["a", "c.id"]

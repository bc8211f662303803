"""TOML scanner: positions of keys."""

from __future__ import annotations

import tomllib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.config.toml_positions import KeyPath, locate_keys

TEXT = '''\
# [not.a.table]
title = "[a]"   # x = 1
"quoted.key" = 1
a.b.c = 1
a.b . "d" = 2

[table]
list = [
  1, # one ]
  [ 2, "]" ],
  { x = { y = 3 }, z = "}" },
]
text = """
[not.a.table]
key = "no" \\"""
more = "" """
literal = \'\'\'
[neither]\'\'\'
after = 1

[[rows]]
  name = "one"
  [[rows.cells]]
  n = 1
  [[rows.cells]]
  n = 2
[[rows]]
  name = 'two'
  [rows.sub.deep]
  n = 3
  [[rows.cells]]
  n = 4
[ spaced . "out" ]
k = 1979-05-27T07:32:00Z
'''


@pytest.mark.parametrize(
    ("path", "position"),
    [
        (("title",), (2, 1)),
        (("quoted.key",), (3, 1)),
        (("a",), (4, 1)),
        (("a", "b", "c"), (4, 1)),
        (("a", "b", "d"), (5, 1)),
        (("table",), (7, 1)),
        (("table", "list"), (8, 1)),
        (("table", "list", 0), (9, 3)),
        (("table", "list", 1), (10, 3)),
        (("table", "list", 1, 1), (10, 8)),
        (("table", "list", 2, "x"), (11, 5)),
        (("table", "list", 2, "x", "y"), (11, 11)),
        (("table", "list", 2, "z"), (11, 20)),
        (("table", "text"), (13, 1)),
        (("table", "literal"), (17, 1)),
        (("table", "after"), (19, 1)),
        (("rows",), (21, 1)),
        (("rows", 0), (21, 1)),
        (("rows", 0, "name"), (22, 3)),
        (("rows", 0, "cells", 0, "n"), (24, 3)),
        (("rows", 0, "cells", 1), (25, 3)),
        (("rows", 0, "cells", 1, "n"), (26, 3)),
        (("rows", 1), (27, 1)),
        (("rows", 1, "name"), (28, 3)),
        (("rows", 1, "sub", "deep"), (29, 3)),
        (("rows", 1, "sub", "deep", "n"), (30, 3)),
        (("rows", 1, "cells", 0, "n"), (32, 3)),
        (("spaced", "out"), (33, 1)),
        (("spaced", "out", "k"), (34, 1)),
    ],
)
def test_a_key_is_found_on_its_line(path: KeyPath, position: tuple[int, int]) -> None:
    assert locate_keys(TEXT)[path] == position


def test_every_value_of_the_text_is_found_and_nothing_else() -> None:
    assert set(locate_keys(TEXT)) == _paths(tomllib.loads(TEXT))


def _paths(value: Any, at: KeyPath = ()) -> set[KeyPath]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ({at} if at else set()).union(*(_paths(inner, (*at, key)) for key, inner in pairs))


_KEYS = st.sampled_from(["a", "b", '"c.d"', "'e'", "1", "a.b"])
_SCALARS = st.sampled_from(
    ["1", '"x"', "'#]'", "true", '"""\n]"""', "'''\n}'''", "1.5", "1979-05-27", '"\\""']
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: "[\n" + ", # ]\n".join(values) + "\n]"),
        st.dictionaries(_KEYS, inner, max_size=2).map(
            lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs.items()) + "}"
        ),
    ),
    max_leaves=6,
)
_LINES = st.one_of(
    st.tuples(_KEYS, _VALUES).map(" = ".join),
    _KEYS.map("[{}]".format),
    _KEYS.map("[[{}]]".format),
    st.just("# [x]"),
)


@settings(deadline=None, max_examples=300)
@given(lines=st.lists(_LINES, max_size=8))
def test_in_any_toml_every_value_is_found_and_nothing_else(lines: list[str]) -> None:
    text = "\n".join(lines)
    with suppress(tomllib.TOMLDecodeError):
        assert set(locate_keys(text)) == _paths(tomllib.loads(text))


@settings(deadline=None)
@given(text=st.text(alphabet="[]{}=.,\"'#ab1 \n\\", max_size=60))
def test_invalid_toml_ends_the_scan(text: str) -> None:
    lines = text.count("\n") + 1

    assert all(1 <= line <= lines for line, _ in locate_keys(text).values())

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.config.yaml_document import Document, WrittenFloat, read_document, read_scalar
from simulator.errors import InputError


def read(tmp_path: Path, text: str | bytes) -> Document:
    path = tmp_path / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("12", 12),
        ("-3", -3),
        ("007", "007"),
        ("0o17", "0o17"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("1.5", 1.5),
        ("1e3", "1e3"),
        ("=", "="),
        (".inf", ".inf"),
        ("2024-01-01", "2024-01-01"),
        ("null", None),
        ("~", None),
        ("286533e0645858", "286533e0645858"),
    ],
)
def test_plain_values_are_what_people_mean(text: str, value: object) -> None:
    """A region `no`, an id that is all digits or looks like a number: none of them may change."""
    assert read_scalar(text) == value
    assert type(read_scalar(text)) in (type(value), WrittenFloat)


@given(st.from_regex(r"[0-9a-f]{14}", fullmatch=True))
def test_every_machine_id_can_be_got_back_as_it_is_written(machine_id: str) -> None:
    assert str(read_scalar(machine_id)) == machine_id


def test_a_fraction_remembers_how_it_was_written() -> None:
    assert read_scalar("1.50").text == "1.50"


def test_every_value_and_key_has_its_place(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  - c: {d: x}\n")
    assert document.data == {"a": 1, "b": [{"c": {"d": "x"}}]}
    assert document.find_value(("b", 0, "c", "d")) == (3, 12)
    assert document.find_key(("b", 0, "c", "d")) == (3, 9)
    assert document.find_value(("b", 0, "zzz")) == (3, 5)
    assert (document.line(("a",)), document.column(("a",))) == (1, 1)


def test_anchors_and_merges_work(tmp_path: Path) -> None:
    document = read(tmp_path, "base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\nc: {<<: [{x: 9}, *b]}\n")
    assert document.data["a"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 9, "y": 2}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\na: 2\n", "2:1", 'the key "a" for the second time\n  expected: it once: see line 1'),
        ("a: !!python/name:os.system x\n", "1:4", "the tag tag:yaml.org,2002:python/name:os.system"),
        ("a: !mine x\n", "1:4", "the tag !mine"),
        ("? [1]\n: 2\n", "1:3", "a key that is no text"),
        ("a: &x [*x]\n", "1:4", "an alias that holds itself"),
        ("a: {<<: 3}\n", "1:9", "a << that names no mapping"),
        ("a: 1\n---\nb: 2\n", "3:1", "a second document begins"),
        ("a: b: c\n", "1:5", "not YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "2:1", "not YAML: found character '\\t'"),
        ("a: [1\n", "2:1", "not YAML: "),
        (b"a: \xff\n", "1", "byte 0xff is not UTF-8"),
    ],
)
def test_what_is_wrong_has_file_line_and_column(
    tmp_path: Path, text: str | bytes, place: str, words: str
) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'file.yaml'}:{place}: {words}")


def test_all_duplicates_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert str(raised.value).count("for the second time") == 2


def test_a_file_that_unfolds_without_end_is_refused(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(InputError, match="more than 100000 values"):
        read(tmp_path, f"l0: &l0 [x]\n{levels}")


def test_brackets_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nested too deeply"):
        read(tmp_path, "[" * 5000)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_document(tmp_path / "none.yaml")


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "# only a comment\n").data is None

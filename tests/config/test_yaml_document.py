"""YAML reader: plain scalars, positions and error messages."""

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
def test_plain_scalars_are_resolved_like_json(text: str, value: object) -> None:
    """A string `no` and an id that looks like a number must not change."""
    assert read_scalar(text) == value
    assert type(read_scalar(text)) in (type(value), WrittenFloat)


@given(st.from_regex(r"[0-9a-f]{14}", fullmatch=True))
def test_every_machine_id_converts_back_to_its_source_text(machine_id: str) -> None:
    assert str(read_scalar(machine_id)) == machine_id


def test_a_float_keeps_its_source_text() -> None:
    assert read_scalar("1.50").text == "1.50"


def test_every_value_and_key_has_a_position(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  - c: {d: x}\n")
    assert document.data == {"a": 1, "b": [{"c": {"d": "x"}}]}
    assert document.find_value(("b", 0, "c", "d")) == (3, 12)
    assert document.find_key(("b", 0, "c", "d")) == (3, 9)
    assert document.find_value(("b", 0, "zzz")) == (3, 5)
    assert (document.line(("a",)), document.column(("a",))) == (1, 1)


def test_anchors_and_merge_keys_are_resolved(tmp_path: Path) -> None:
    document = read(tmp_path, "base: &b {x: 1, y: 2}\na: {<<: *b, y: 3}\nc: {<<: [{x: 9}, *b]}\n")
    assert document.data["a"] == {"x": 1, "y": 3}
    assert document.data["c"] == {"x": 9, "y": 2}


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("a: 1\na: 2\n", "2:1", 'duplicate key "a"\n  expected: each key once; the first is on line 1'),
        ("a: !!python/name:os.system x\n", "1:4", "unsupported tag tag:yaml.org,2002:python/name:os.system"),
        ("a: !mine x\n", "1:4", "unsupported tag !mine"),
        ("? [1]\n: 2\n", "1:3", "the key is not a string"),
        ("a: &x [*x]\n", "1:4", "the alias refers to itself"),
        ("a: {<<: 3}\n", "1:9", "the value of << is not a mapping"),
        ("a: 1\n---\nb: 2\n", "3:1", "the file contains a second YAML document"),
        ("a: b: c\n", "1:5", "invalid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "2:1", "invalid YAML: found character '\\t'"),
        ("a: [1\n", "2:1", "invalid YAML: "),
        (b"a: \xff\n", "1", "byte 0xff is not UTF-8"),
    ],
)
def test_an_error_names_file_line_and_column(
    tmp_path: Path, text: str | bytes, position: str, message: str
) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'file.yaml'}:{position}: {message}")


@pytest.mark.parametrize(
    "text",
    [
        "x: &x {<<: *x}\n",
        "x: &x {<<: [*x, {a: 1}]}\n",
        "x: &x {<<: {<<: *x}}\n",
        "x: &x {a: {<<: *x}}\n",
        "x: &x {a: [*x]}\n",
        "x: &x [*x]\n",
    ],
)
def test_an_alias_of_itself_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"file\.yaml:1:4: the alias refers to itself\n  expected: "):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a: 1\nb: "\x1b[31m"\n', r"2:5: invalid YAML: character U+001B is not allowed"),
        ("a: \ufffe\n", "1:4: invalid YAML: character U+FFFE is not allowed"),
    ],
)
def test_a_character_that_yaml_does_not_allow_has_a_position(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert f"file.yaml:{message}\n  expected: printable characters" in str(caught.value)


def test_all_duplicate_keys_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path, "a: 1\na: 2\nb: {c: 1, c: 2}\n")
    assert str(raised.value).count("duplicate key") == 2


def test_excessive_alias_expansion_is_an_error(tmp_path: Path) -> None:
    levels = "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    with pytest.raises(InputError, match="more than 100000 values"):
        read(tmp_path, f"l0: &l0 [x]\n{levels}")


def test_too_many_nested_brackets_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="too many nested brackets"):
        read(tmp_path, "[" * 5000)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the file: No such file"):
        read_document(tmp_path / "none.yaml")


def test_an_empty_file_has_no_data(tmp_path: Path) -> None:
    assert read(tmp_path, "# only a comment\n").data is None

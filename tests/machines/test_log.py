from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.machines.log import LineSplitter


def lines_of(*chunks: bytes, max_bytes: int = 65_536) -> list[str]:
    splitter = LineSplitter(max_bytes)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    return lines + splitter.flush()


@pytest.mark.parametrize(
    ("chunks", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"on", b"e\nt", b"wo"], ["one", "two"]),
        ([b"one\r\n", b"two\r", b"\n"], ["one", "two"]),
        ([b"\n\none\n"], ["", "", "one"]),
        ([b"10%\r20%\r\n"], ["10%\r20%"]),
        ([b"\xe2\x82", b"\xac\n"], ["€"]),
        ([b"a\xffb\n"], ["a\\xffb"]),
        ([], []),
    ],
)
def test_bytes_are_split_into_lines(chunks: list[bytes], lines: list[str]) -> None:
    assert lines_of(*chunks) == lines


def test_a_long_line_is_split_into_pieces() -> None:
    assert lines_of(b"abcdefghij\nk\n", max_bytes=4) == ["abcd", "efgh", "ij", "k"]


def test_a_piece_of_a_long_line_is_emitted_before_the_line_ends() -> None:
    splitter = LineSplitter(4)

    assert splitter.feed(b"abcde") == ["abcd"]


def test_a_line_of_exactly_the_limit_is_not_split() -> None:
    assert lines_of(b"abcd\nefgh\n", max_bytes=4) == ["abcd", "efgh"]


def test_no_character_is_split() -> None:
    assert lines_of("€€€\n".encode(), max_bytes=4) == ["€", "€", "€"]


@given(
    text=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=60),
    sizes=st.integers(1, 9),
)
def test_no_character_is_lost_for_any_chunk_size(text: str, sizes: int) -> None:
    data = text.encode()
    chunks = [data[start : start + sizes] for start in range(0, len(data), sizes)]

    assert "".join(lines_of(*chunks, max_bytes=8)) == text

"""Text from outside, for the wire, traces, JSON and the terminal: nothing fails, nothing is lost."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.text import encode_field, encode_json, encode_uri, escape, printable, show_bytes, to_json

ANY_TEXT = st.text(st.characters(codec=None, categories=None))
"""Every code point, lone surrogates included."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ✓", "plain ✓"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), r"caf\xe9"),
        ("\x00\x07\x1b\x7f", r"\x00\x07\x1b\x7f"),
        ("a\tb\r\nc", r"a\tb\r\nc"),
        ("\x85\x9b31m", r"\u0085\u009b31m"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("\u2066\u2028\u00a0", r"\u2066\u2028\u00a0"),
        ("\ud800", r"\ud800"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_a_value_in_a_message_shows_what_is_invisible(text: str, shown: str) -> None:
    assert escape(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ttwo", "one\n\ttwo"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x1b[2J\x1b[31mred", r"\x1b[2Jred"),
        ("10%\r20%", r"10%\r20%"),
        ("\x9b2J \u202e", r"\u009b2J \u202e"),
        ("👩‍💻 naïve", "👩‍💻 naïve"),
    ],
)
def test_a_text_on_the_terminal_has_no_escape_sequences(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_colors_end_with_the_text_that_has_them() -> None:
    assert printable("\x1b[1;31mred\x1b[2K", colors=True) == "\x1b[1;31mred\\x1b[2K\x1b[0m"
    assert printable("plain\x07", colors=True) == r"plain\x07"


def test_a_redirect_repeats_the_clients_bytes() -> None:
    text = b"https://\xe9.test:8080/caf\xc3\xa9 \xff\"<>\\^`{|}\x00?a=%20&b[]=1#~!$'()*+,;@".decode(
        "utf-8", "surrogateescape"
    )
    assert encode_uri(text) == (
        b"https://%E9.test:8080/caf%C3%A9%20%FF%22%3C%3E%5C%5E%60%7B%7C%7D%00?a=%20&b[]=1#~!$'()*+,;@"
    )


def test_json_has_bytes_that_are_not_utf8_as_escapes_and_all_else_unchanged() -> None:
    value = {"target": "/caf\udce9", "line": "\x1b[31m€", "state": "\ud83d"}
    assert json.loads(encode_json(value)) == {"target": r"/caf\xe9", "line": "\x1b[31m€", "state": r"\ud83d"}


@given(ANY_TEXT)
def test_no_text_fails(text: str) -> None:
    assert escape(text).isprintable()
    printable(text).encode()
    show_bytes(text).encode()
    to_json([text], indent=2).encode()
    assert isinstance(json.loads(encode_json({text: text})), dict)
    encode_field(text)
    assert re.fullmatch(rb"[!-~]*", encode_uri(text))
    assert "\x1b" not in printable(text)
    assert re.sub(r"\x1b\[[0-9;:]*m", "", printable(text, colors=True)).count("\x1b") == 0


@given(st.binary())
def test_a_uri_keeps_every_byte(data: bytes) -> None:
    from urllib.parse import unquote_to_bytes

    text = data.decode("utf-8", "surrogateescape")
    assert unquote_to_bytes(encode_uri(text)) == unquote_to_bytes(data)

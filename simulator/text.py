"""Text from outside, encoded for the wire, traces, JSON, logs and the terminal. No function here can fail.

Requests, machines and files contain bytes that are not UTF-8, control characters and escape sequences. Python keeps an
undecodable byte in a string as a lone surrogate (PEP 383), which no encoder accepts. Wherever flysim shows such text,
it uses one notation, that of Python's string literals:

    \\xff      a byte that is not UTF-8
    \\x1b      a control character, also \\t, \\n and \\r
    \\u202e    any other character that is invisible or changes the direction of the text, and a lone surrogate

The wire gets the original bytes, and JSON the original characters, except for lone surrogates.
"""

from __future__ import annotations

import json
import re
from typing import Any

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# C0 except tab and line feed, DEL, C1, line separators, and the controls of writing direction (Unicode TR 36, 3.2).
_NOT_FOR_TERMINALS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOR = re.compile(r"\x1b\[[0-9;:]*m")
"""SGR, the only escape sequence that changes nothing but the style of the text that follows (ECMA-48, 8.3.117)."""
_COLOR_RESET = "\x1b[0m"
_NOT_IN_URI = re.compile(rb"[^!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]")  # RFC 3986, 2.2 and 2.3, and "%"
_BYTE = range(0xDC80, 0xDD00)
"""The lone surrogates that stand for the bytes 0x80 to 0xff."""
_SHORT_FORMS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def show_bytes(text: str) -> str:
    """For traces: the text without lone surrogates, which are written as `\\xff` or `\\ud800`."""
    return text if text.isascii() else _LONE_SURROGATE.sub(_notation, text)


def escape(text: str) -> str:
    """For a value in one line of a message: nothing invisible but spaces is left as it is."""
    return (
        text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)
    )


def printable(text: str, *, colors: bool = False) -> str:
    """For the terminal, with its tabs and line ends.

    Without `colors`, color sequences are removed. With `colors`, they are kept, and end with the text.
    """
    if text.isprintable():
        return text
    if not colors:
        return _NOT_FOR_TERMINALS.sub(_notation, _COLOR.sub("", text))
    sequences = _COLOR.findall(text)
    pieces = [_NOT_FOR_TERMINALS.sub(_notation, piece) for piece in _COLOR.split(text)]
    shown = "".join(piece + sequence for piece, sequence in zip(pieces, [*sequences, ""], strict=True))
    return shown + _COLOR_RESET if sequences else shown


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that every encoding of Unicode can hold. Without `indent`, it has no spaces."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators, default=str)
    return text if text.isascii() else _LONE_SURROGATE.sub(lambda found: "\\" + _notation(found), text)


def encode_json(value: Any) -> bytes:
    return to_json(value).encode()


def encode_field(text: str) -> bytes:
    """The value of a header field on the wire: a character beyond Latin-1 becomes a question mark."""
    return text.encode("latin-1", "replace")


def encode_uri(text: str) -> bytes:
    """A URI of the client's own bytes; what a URI must not contain is percent-encoded (RFC 9110, 10.2.2)."""
    data = text.encode("utf-8", "surrogateescape" if _has_only_bytes(text) else "replace")
    return _NOT_IN_URI.sub(lambda found: b"%%%02X" % found[0][0], data)


def escape_matches(pattern: re.Pattern[str], text: str) -> str:
    """The text with the characters that `pattern` matches in the notation above."""
    return pattern.sub(_notation, text)


def _has_only_bytes(text: str) -> bool:
    return all(ord(found) in _BYTE for found in _LONE_SURROGATE.findall(text))


def _notation(found: re.Match[str]) -> str:
    return _escaped(found[0])


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT_FORMS:
        return _SHORT_FORMS[character]
    if code in _BYTE:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

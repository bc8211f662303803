"""Mutations of a corpus, as a hypothesis strategy, so that hypothesis shrinks an input that fails."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

MAX_CHANGES = 6
MAX_BYTES = 100_000
_PIECES = (
    b"\r\n", b"\n", b"\r", b"\0", b"\x0b", b"\x1b[31m", b"\x7f", b"\x80", b"\xff", b" ", b"\t", b":", b";", b",", b"=",
    b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b"<<: *x", b"&x", b"*x", b"!!", b"0", b"-1", b"9" * 20, b"1e999",
    b"inf", b"null", b"true", "é€\u2028".encode(), b"\xed\xa0\x80", b"/", b"http://", b"HTTP/1.1", b"Host: x\r\n",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: host\r\n", b"fly-replay-src: x\r\n",
    b"\0\0\0\4\1\0\0\0\0", b"\0\0\4\3\0\0\0\0\1\0\0\0\x08", b"\xc0\x0c", b"x" * 300, b"$", b"${A}", b"\\u0000",
    b"\\ud800",
)  # fmt: skip


def mutated(inputs: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of the inputs with up to `MAX_CHANGES` changes; shrinks towards no change of the first input."""
    change = st.tuples(
        st.sampled_from(["insert", "replace", "delete", "repeat", "splice", "flip"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 40),
        st.one_of(st.sampled_from(_PIECES), st.binary(min_size=1, max_size=4)),
        st.integers(0, len(inputs) - 1),
    )

    def apply(data: bytes, changes: list[tuple[str, float, int, bytes, int]]) -> bytes:
        for kind, place, size, piece, other in changes:
            start = int(place * (len(data) + 1))
            data = _change(data, kind, start, size, piece, inputs[other])[:MAX_BYTES]
        return data

    return st.builds(apply, st.sampled_from(list(inputs)), st.lists(change, max_size=MAX_CHANGES))


def _change(data: bytes, kind: str, start: int, size: int, piece: bytes, other: bytes) -> bytes:
    end = start + size
    match kind:
        case "insert":
            return data[:start] + piece + data[start:]
        case "replace":
            return data[:start] + piece + data[start + len(piece) :]
        case "delete":
            return data[:start] + data[end:]
        case "repeat":
            return data[:end] + data[start:end] * 3 + data[end:]
        case "flip":
            return (
                data[:start] + bytes([data[start] ^ 1 << size % 8]) + data[start + 1 :]
                if start < len(data)
                else data
            )
        case _:
            return data[:start] + other[start:]

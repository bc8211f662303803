"""Fast path: indexed header fields behave like mitmproxy's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from simulator.proxy.http.fast_path import IndexedHeaders
from tests.proxy.harness import AMS, Harness
from tests.proxy.machine import OK, responding

NAMES = st.sampled_from([b"Host", b"host", b"Connection", b"X-A", b"x-a", b"Transfer-Encoding", b"caf\xe9"])


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=6), NAMES)
def test_a_lookup_returns_what_mitmproxy_returns(fields: list[tuple[bytes, bytes]], name: bytes) -> None:
    ours, theirs = IndexedHeaders(tuple(fields)), http.Headers(fields)
    for key in (name, name.decode("utf-8", "surrogateescape")):
        assert ours.get(key) == theirs.get(key)
        assert (key in ours) is (key in theirs)
    assert list(ours.items(multi=True)) == list(theirs.items(multi=True))


def test_a_missing_name_raises_key_error() -> None:
    with pytest.raises(KeyError):
        IndexedHeaders(())["host"]


async def test_a_short_response_reaches_the_client_in_one_write(harness: Harness) -> None:
    """A head and a body that arrive together are sent together: one write, one packet."""
    await harness.add_machine(AMS, "ams", responding(OK))
    client = await harness.connect()
    await client.send(b"GET / HTTP/1.1\r\nhost: streams.fly.dev\r\n\r\n")
    assert (await client.reader.read(65536)).endswith(b"\r\n\r\nhello")

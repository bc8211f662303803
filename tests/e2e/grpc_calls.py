"""The gRPC client of the tests: calls of each kind to tests/e2e/grpc_app.py behind an edge."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from urllib.parse import urlsplit

import grpc
import pytest

AMS, DFW = "d8dd626f379508", "286533db064e58"
FLY_TOML = """\
app = "rooms"
[http_service]
internal_port = 8080
[http_service.http_options]
h2_backend = true
"""
DEADLINE_SECONDS = 20
UNARY, FAIL, OUT, IN, BOTH = (f"/test.Rooms/{name}" for name in ("Unary", "Fail", "Out", "In", "Both"))


def check_calls(edge: str) -> None:
    """Make each kind of call through this edge of ams, and check what comes back."""
    with grpc.insecure_channel(
        urlsplit(edge).netloc, [("grpc.default_authority", "rooms.fly.dev")]
    ) as channel:
        _check_unary(channel)
        _check_replay(channel)
        _check_error(channel)
        _check_streams(channel)
        _check_conversation(channel)


def _check_unary(channel: grpc.Channel) -> None:
    large = b"x" * 3_000_000  # more than the flow control windows
    for message in (b"", b"hello", large):
        answer, call = channel.unary_unary(UNARY).with_call(message, timeout=DEADLINE_SECONDS)
        assert answer == AMS.encode() + b" " + message
        assert ("x-sum-bin", b"\0\xff") in call.trailing_metadata()
        assert call.code() is grpc.StatusCode.OK


def _check_replay(channel: grpc.Channel) -> None:
    """The other machine answers, and its trailing metadata arrives."""
    ask = channel.unary_unary(UNARY)
    answer, call = ask.with_call(b"hello", metadata=[("to", DFW)], timeout=DEADLINE_SECONDS)
    assert answer == DFW.encode() + b" hello"
    source = dict(call.trailing_metadata())["x-source"]
    assert f"instance={AMS}" in source
    assert "state=asked" in source


def _check_error(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(FAIL)(b"", timeout=DEADLINE_SECONDS)
    error = raised.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such room: Gänge")


def _check_streams(channel: grpc.Channel) -> None:
    numbers = channel.unary_stream(OUT)(b"1000", timeout=DEADLINE_SECONDS)
    assert [int(number) for number in numbers] == list(range(1000))
    parts = [b"a", b"b" * 100_000, b"c"]
    assert channel.stream_unary(IN)(iter(parts), timeout=DEADLINE_SECONDS) == b"+".join(parts)


def _check_conversation(channel: grpc.Channel) -> None:
    """Each message is sent only after the answer to the one before has arrived."""
    messages: Queue[bytes | None] = Queue()

    def sent() -> Iterator[bytes]:
        while (message := messages.get()) is not None:
            yield message

    answers = channel.stream_stream(BOTH)(sent(), timeout=DEADLINE_SECONDS)
    for message in (b"one", b"two", b"three"):
        messages.put(message)
        assert next(answers) == message.upper()
    messages.put(None)
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK

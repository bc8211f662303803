"""Target of `flysim trace`: always an edge, for every kind of URL."""

from __future__ import annotations

import pytest

from simulator.cli.trace_target import Target, find_target
from simulator.errors import InputError

EDGES = {"ams": "http://127.0.0.1:8080", "dfw": "http://127.0.0.1:8081"}


@pytest.mark.parametrize(
    ("text", "edge", "expected"),
    [
        ("/x?y", None, Target("ams", "http://127.0.0.1:8080/x?y")),
        ("/x", "dfw", Target("dfw", "http://127.0.0.1:8081/x")),
        ("http://127.0.0.1:8081/", None, Target("dfw", "http://127.0.0.1:8081/")),
        ("http://localhost:8081", None, Target("dfw", "http://127.0.0.1:8081/")),
        ("127.0.0.1:8081/x", None, Target("dfw", "http://127.0.0.1:8081/x")),
        ("https://127.0.0.1:8080/", None, Target("ams", "https://127.0.0.1:8080/")),
        ("http://127.0.0.1:8080/", "dfw", Target("dfw", "http://127.0.0.1:8081/")),
        ("ws://127.0.0.1:8080/ws", None, Target("ams", "http://127.0.0.1:8080/ws", is_websocket=True)),
        ("https://chat.fly.dev/x", None, Target("ams", "https://127.0.0.1:8080/x", "chat.fly.dev")),
        ("chat.fly.dev", "dfw", Target("dfw", "http://127.0.0.1:8081/", "chat.fly.dev")),
        (
            "wss://chat.fly.dev:8443/",
            None,
            Target("ams", "https://127.0.0.1:8080/", "chat.fly.dev:8443", True),
        ),
        ("http://chat.fly.dev:8080/", None, Target("ams", "http://127.0.0.1:8080/", "chat.fly.dev:8080")),
    ],
)
def test_a_request_goes_to_an_edge(text: str, edge: str | None, expected: Target) -> None:
    assert find_target(text, EDGES, edge) == expected


@pytest.mark.parametrize(
    "text", ["foo", "", "ftp://127.0.0.1/", "http://[::1/", "http://", "http://a:99999/"]
)
def test_an_invalid_url_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="is not a URL"):
        find_target(text, EDGES, None)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9/", "localhost:9", "http://[::1]/", "http://127.64.0.1/"]
)
def test_a_loopback_address_that_is_not_an_edge_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="no edge of the running simulator") as fault:
        find_target(text, EDGES, None)
    assert fault.value.expected == (
        "one of http://127.0.0.1:8080 (ams), http://127.0.0.1:8081 (dfw); "
        "for another simulator add --control URL or set FLYSIM_CONTROL"
    )


def test_an_unknown_edge_is_an_error_that_lists_the_edges() -> None:
    with pytest.raises(InputError, match="there is no edge 'lhr'\n  expected: one of ams, dfw"):
        find_target("/", EDGES, "lhr")

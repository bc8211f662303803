"""Targets of fuzzing: for each kind of input, a function that checks what must hold for any bytes.

A check raises AssertionError, or whatever the code under test raises. The wire targets run a real edge in front of a
recording machine.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode

from simulator.config import load_config
from simulator.config.compose.reader import read_compose
from simulator.errors import InputError
from simulator.proxy.name_server import NameServer
from simulator.routing import App, Deliver, Failure, Machine, ReadBody, Response, Router, RoutingOptions, Wait
from simulator.routing.headers import FLY_REPLAY
from simulator.routing.replay.body import CONTENT_TYPE
from simulator.routing.replay.directive import DirectiveError, parse_directive
from simulator.scenario import load_scenario
from tests.fuzz.edge import http1_check, http2_check, websocket_check
from tests.routing.build import DEMO, NOW, REQUEST_ID, fleet, machine, request, response

Check = Callable[[bytes], None]
Target = Callable[[], AbstractContextManager[Check]]

CORPUS = Path(__file__).with_name("corpus")
MAX_CPU_SECONDS = 2.0
"""For one file. The slowest of 20,000 mutated files took 0.2 s."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_WHOLE_FILE = re.compile(
    r"missing key|no command to start|too many nested brackets|contains more than|is empty|not UTF-8|no services?"
)
"""Problems that have no line."""
_FIELD_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_STEPS = 2_000


def corpus(kind: str) -> list[Path]:
    return sorted((CORPUS / kind).iterdir())


# Files.


def _file_target(name: str, load: Callable[[Path], Any]) -> Target:
    """The file is read, or the error names it and the place, without control characters."""

    @contextmanager
    def target() -> Iterator[Check]:
        with tempfile.TemporaryDirectory(prefix="flysim-fuzz-") as folder:
            path = Path(folder, name)

            def check(data: bytes) -> None:
                path.write_bytes(data)
                start = time.process_time()
                try:
                    load(path)
                except InputError as error:
                    _check_message(str(error), name)
                assert (took := time.process_time() - start) < MAX_CPU_SECONDS, f"{took:.1f} s"

            yield check

    return target


def _check_message(message: str, name: str) -> None:
    assert not (found := CONTROL.search(message)), f"{found[0]!r} in {message!r}"
    assert name in message, f"no file name: {message!r}"
    is_about_file = re.search(_WHOLE_FILE, message)
    assert re.search(rf"{re.escape(name)}:\d+", message) or is_about_file, f"no line: {message!r}"


# Replays.


@contextmanager
def _directive() -> Iterator[Check]:
    def check(data: bytes) -> None:
        with suppress(DirectiveError):
            parse_directive(data.decode("latin-1"))
        for failing in (False, True):
            _check_replay(Response(307, ((FLY_REPLAY, data),)), b"", failing=failing)

    yield check


@contextmanager
def _json_replay() -> Iterator[Check]:
    def check(data: bytes) -> None:
        for failing in (False, True):
            head = Response(200, ((b"content-type", CONTENT_TYPE.encode()),))
            _check_replay(head, data, failing=failing)

    yield check


def _check_replay(replay: Response, body: bytes, *, failing: bool) -> None:
    """A machine sends the replay. Its target responds, or every delivery fails until a fallback or the end."""
    router, now = Router(DEMO, RoutingOptions(), lambda n: 0), NOW
    exchange = router.open(request(), "ams", REQUEST_ID, now)
    exchange.begin(now)
    decision = exchange.receive(replay, now)
    for _ in range(_MAX_STEPS):
        match decision:
            case Deliver():
                _check_delivery(decision)
                decision = (
                    exchange.fail(Failure.REFUSED, now) if failing else exchange.receive(response(), now)
                )
            case ReadBody():
                decision = exchange.receive_body(body, now)
            case Wait():
                now += max(decision.wait_seconds, 0.1)
                decision = exchange.resume(now)
            case _:
                return
    raise AssertionError(f"no end after {_MAX_STEPS} steps and {now - NOW:.0f} s")


def _check_delivery(delivery: Deliver) -> None:
    for name, value in delivery.fields:
        assert not _FIELD_CONTROL.search(name + value), f"a control byte in {name!r}: {value!r}"
    hosts = [value for name, value in delivery.fields if name.lower() == b"host"]
    assert len(hosts) == 1, f"Host: {hosts}"


# Name server.

_NAMED = fleet(
    machine(1, "ams", private_ip="fdaa::1"),
    machine(2, "dfw", private_ip="fdaa::2"),
    Machine("00bb33ff00bb33", "api-1", "api", "lhr", private_ip="fdaa::5"),
    apps=[App("streams"), App("api")],
)


@contextmanager
def _dns() -> Iterator[Check]:
    """No response, or one that dnspython can read and that has the id of the query."""
    server = NameServer(lambda: _NAMED, "ams")

    def check(data: bytes) -> None:
        query = server.parse_query(data)
        response = None if query is None else server.respond(query, "127.0.0.1", 65_507)
        if response is None:
            return
        assert response[:2] == data[:2]
        if (
            data[2] >> 3 & 15
        ):  # Not a standard query. dnspython reads the sections of an UPDATE in another way.
            assert response[3] & 15 == dns.rcode.NOTIMP
        else:
            dns.message.from_wire(response)

    yield check


TARGETS: Mapping[str, Target] = {
    "directive": _directive,
    "json_replay": _json_replay,
    "fly_toml": _file_target("fly.toml", load_config),
    "flysim_toml": _file_target("flysim.toml", load_config),
    "scenario": _file_target("scenario.yaml", load_scenario),
    "compose": _file_target("compose.yml", lambda path: read_compose(path, None, {"REGION": "ams"})),
    "dns": _dns,
    "http1": http1_check,
    "http2": http2_check,
    "websocket": websocket_check,
}

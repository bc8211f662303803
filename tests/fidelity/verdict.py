"""What flysim makes of each fact: held by tests, a choice with a key, or not emulated for a reason.

The first two are read from the tests and from `RoutingOptions`. The third is the table below, written by hand: from
the reason to the ids that it covers.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from itertools import pairwise

from simulator.routing import options
from simulator.routing.options import RoutingOptions
from tests.fidelity.citation import Citation
from tests.fidelity.fact import expand

NOT_EMULATED: Mapping[str, str] = {
    "history, not behaviour": "F-0.1 to F-0.16",
    "an outdated page, overruled by a newer one": "F-1.73, F-5.10",
    "a numbering in a draft; the published one is used": "F-6.61",
    # Things of Fly's own, inside.
    "Fly's own directory failed: ours is one table in memory": "F-1.74, F-6.49, F-6.50",
    "internal to Fly's proxy: nothing here can fail so": "F-6.10, F-6.14, F-6.23, F-6.34, F-6.38, F-6.42",
    "there are no worker hosts here between an edge and a machine": "F-5.14",
    "machines are woken by a call in one process, not by a request to an API": "F-6.33, F-6.35, F-6.36",
    "the fleet's state is known to every edge at once": "F-5.15, F-6.41",
    "the limits are never bypassed": "F-5.11, F-6.56, F-6.57",
    "an address and its port are always known here: PC01": "F-6.17",
    "durations of Fly's own: a process starts as fast as it does": "F-5.40",
    "deploys are not emulated": "F-7.13",
    "machines do not move to other hosts": "F-5.49",
    "there is no WireGuard here": "F-7.23",
    "all machines share the network of this computer": "F-8.22, F-8.24",
    "not a thing of the proxy": "F-7.16, F-7.25, F-7.26, F-12.16, F-12.17, F-12.19, F-12.20, F-12.21",
    # The wire.
    "the certificate is flysim's own, and handshakes have no limit": "F-6.24, F-6.25, F-6.28 to F-6.32, F-10.13",
    "not among what an app may set here: a warning names it": "F-9.8, F-9.12",
    "static files are left to the app: a warning names them": "F-6.55, F-9.16",
    "WebSockets come over HTTP/1.1 only": "F-1.98",
    "seen in captures, not documented, and not sent": "F-4.15, F-4.23",
    "connections are kept by mitmproxy's own rule": "F-10.8",
    "a limit of 2023, of which nobody knows whether it still holds": "F-10.11",
    # What others say.
    "one report whose cause is not known": "F-1.92",
    "what some framework does": "F-1.96",
}


class Kind(StrEnum):
    HELD = "held"
    CHOICE = "choice"
    NOT_EMULATED = "not emulated"


@dataclass(frozen=True, slots=True)
class Key:
    """One choice that a person may set under `[proxy]`, and what it is otherwise."""

    name: str
    default: str


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Kind
    citations: tuple[Citation, ...] = ()
    key: Key | None = None
    reason: str = ""


def read_keys() -> dict[str, Key]:
    """From each K- id to its key: the docstring of a field of RoutingOptions begins with the id."""
    defaults = {field.name: getattr(RoutingOptions(), field.name) for field in fields(RoutingOptions)}
    (body,) = (
        node.body
        for node in ast.parse(inspect.getsource(options)).body
        if isinstance(node, ast.ClassDef) and node.name == RoutingOptions.__name__
    )
    keys = {}
    for statement, after in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(after, ast.Expr):
            name = ast.unparse(statement.target)
            fact = ast.literal_eval(after.value).partition(":")[0]
            keys[fact] = Key(name, _as_toml(defaults[name]))
    return keys


def _as_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case tuple():
            return str(list(value))
        case dict():
            return "{}" if not value else str(value)
    return str(value)


def judge(known: Iterable[str], citations: Mapping[str, list[Citation]]) -> dict[str, Verdict]:
    """The verdict on each id that has one. A K- id with a key is a choice, whether a test holds it or not."""
    known = tuple(known)
    reasons, keys = expand(NOT_EMULATED, known), read_keys()
    verdicts = {}
    for fact in known:
        tests = tuple(sorted(citations.get(fact, ()), key=lambda test: (test.facts, test)))
        if fact in keys and fact.startswith("K-"):
            verdicts[fact] = Verdict(Kind.CHOICE, tests, key=keys[fact])
        elif tests:
            verdicts[fact] = Verdict(Kind.HELD, tests)
        elif fact in reasons:
            verdicts[fact] = Verdict(Kind.NOT_EMULATED, reason=reasons[fact])
    return verdicts

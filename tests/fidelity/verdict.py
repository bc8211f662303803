"""Verdict on each fact: tested, configurable, or not emulated.

The first two come from the tests and from `RoutingOptions`. The third is the hand-written table below, which maps each
reason to the ids that it covers.
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
    "history, not behavior": "F-0.1 to F-0.16",
    "an outdated page; a newer one replaces it": "F-1.73, F-5.10",
    "the numbering of a draft; flysim uses the published one": "F-6.61",
    # Fly's internals.
    "a failure of Fly's directory; flysim has a single table in memory": "F-1.74, F-6.49, F-6.50",
    "an internal error of Fly's proxy that cannot occur here": "F-6.10, F-6.14, F-6.23, F-6.34, F-6.38, F-6.42",
    "there are no worker hosts between edges and machines": "F-5.14",
    "flysim starts machines with a function call, not with an API request": "F-6.33, F-6.35, F-6.36",
    "every edge always knows the current state of all machines": "F-5.15, F-6.41",
    "flysim never bypasses the limits": "F-5.11, F-6.56, F-6.57",
    "the port of an address is always known, so the code is PC01": "F-6.17",
    "durations on Fly; a local process starts at its own speed": "F-5.40",
    "deploys are not emulated": "F-7.13",
    "machines do not move to other hosts": "F-5.49",
    "there is no WireGuard": "F-7.23",
    "all machines share this computer's network": "F-8.22, F-8.24",
    "not part of the proxy": "F-7.16, F-7.25, F-7.26, F-12.16, F-12.17, F-12.19, F-12.20, F-12.21",
    # Protocols.
    "flysim uses its own certificate and has no limit on handshakes": "F-6.24, F-6.25, F-6.28 to F-6.32, F-10.13",
    "an unsupported setting; flysim prints a warning": "F-9.8, F-9.12",
    "flysim does not serve static files and prints a warning": "F-6.55, F-9.16",
    "WebSockets use HTTP/1.1 only": "F-1.98",
    "seen in captures but not documented; flysim does not send it": "F-4.15, F-4.23",
    "flysim's connection pool has its own rules": "F-10.8",
    "a limit from 2023 that may no longer exist": "F-10.11",
    # Reports by third parties.
    "a single report with an unknown cause": "F-1.92",
    "the behavior of a framework": "F-1.96",
}


class Kind(StrEnum):
    TESTED = "tested"
    CONFIGURABLE = "configurable"
    NOT_EMULATED = "not emulated"


@dataclass(frozen=True, slots=True)
class Key:
    """A key under `[proxy]`, with its default in TOML syntax."""

    name: str
    default: str


@dataclass(frozen=True, slots=True)
class Verdict:
    kind: Kind
    citations: tuple[Citation, ...] = ()
    key: Key | None = None
    reason: str = ""


def read_keys() -> dict[str, Key]:
    """The key of each fact that has one. The docstring of a field of RoutingOptions begins with the fact's id."""
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
    """The verdict on each id that has one. A K- id with a key is always configurable, even if a test covers it."""
    known = tuple(known)
    reasons, keys = expand(NOT_EMULATED, known), read_keys()
    verdicts = {}
    for fact in known:
        tests = tuple(sorted(citations.get(fact, ()), key=lambda test: (test.facts, test)))
        if fact in keys and fact.startswith("K-"):
            verdicts[fact] = Verdict(Kind.CONFIGURABLE, tests, key=keys[fact])
        elif tests:
            verdicts[fact] = Verdict(Kind.TESTED, tests)
        elif fact in reasons:
            verdicts[fact] = Verdict(Kind.NOT_EMULATED, reason=reasons[fact])
    return verdicts

"""Replay of the stored corpus: what must hold for any input holds for each of these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS, Check, corpus

FILES = [(kind, path) for kind in TARGETS for path in corpus(kind)]


@pytest.fixture(scope="module")
def check(request: pytest.FixtureRequest) -> Iterator[Check]:
    with TARGETS[request.param]() as check:
        yield check


@pytest.mark.parametrize(
    ("check", "path"),
    FILES,
    indirect=["check"],
    ids=[f"{kind}/{path.name}" for kind, path in FILES],
    scope="module",
)
def test_an_input_of_the_corpus_passes_its_check(check: Check, path: Path) -> None:
    check(path.read_bytes())


def test_each_kind_has_a_corpus() -> None:
    assert {path.name for path in Path(__file__).with_name("corpus").iterdir()} == set(TARGETS)

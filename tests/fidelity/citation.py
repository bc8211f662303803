"""Citations of facts in tests and scenarios, collected from their source without running them.

A test function cites the ids in its decorators, docstring, comments and strings, and those in the module-level tables
that it uses. A scenario cites all ids in its file.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.fidelity.fact import ROOT, cited_ids

_TEXTS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_EXCLUDED = ("fidelity", "bench")

Citations = dict[str, list["Citation"]]


@dataclass(frozen=True, slots=True, order=True)
class Citation:
    """A test that cites a fact; `test` is empty for a scenario."""

    path: str
    test: str = ""
    facts: int = 1
    """The number of facts that the test cites: the fewer, the more specific the test."""

    def __str__(self) -> str:
        return f"{self.path}::{self.test}" if self.test else self.path


def collect(known: Iterable[str], root: Path = ROOT) -> Citations:
    """The tests that cite each id, sorted by file. Includes ids that are not in `known`."""
    known = tuple(known)
    found: Citations = defaultdict(list)
    for path, test, text in _tests(root):
        facts = cited_ids(text, known)
        for fact in facts:
            found[fact].append(Citation(path, test, len(facts)))
    return {fact: sorted(citations) for fact, citations in found.items()}


def _tests(root: Path) -> Iterator[tuple[str, str, str]]:
    """The path, name and text of each test and scenario."""
    for file in sorted((root / "tests").rglob("test_*.py")):
        if file.relative_to(root / "tests").parts[0] not in _EXCLUDED:
            for test, text in texts_by_test(file.read_text(encoding="utf-8")):
                yield file.relative_to(root).as_posix(), test, text
    suite = root / "simulator" / "testing" / "backend_contract.py"
    for test, text in texts_by_test(suite.read_text(encoding="utf-8") if suite.exists() else ""):
        yield suite.relative_to(root).as_posix(), test, text
    for file in sorted((root / "scenarios").rglob("*.yaml")):
        yield file.relative_to(root).as_posix(), "", file.read_text(encoding="utf-8")


def texts_by_test(source: str) -> Iterator[tuple[str, str]]:
    """The name of each test function in a module, with the text that can cite facts."""
    texts = _texts(source)
    tree = ast.parse(source)
    lines = source.splitlines()
    tables = {
        name: _text_of(texts, lines, node)
        for node in tree.body
        if isinstance(node, _TABLES)
        for name in _names(node)
    }
    for node in _functions(tree):
        used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        parts = [_text_of(texts, lines, node), *(text for name, text in tables.items() if name in used)]
        yield node.name, "\n".join(parts)


_TABLES = (ast.Assign, ast.AnnAssign)


def _functions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _names(node: ast.stmt) -> list[str]:
    return [
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    ]


def _texts(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type in _TEXTS]


def _text_of(texts: list[tuple[int, str]], lines: list[str], node: ast.stmt) -> str:
    """The text of a statement, its decorators, and the comment directly above it."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return "\n".join(text for line, text in texts if first <= line <= (node.end_lineno or node.lineno))

"""Which tests name which facts: read from the tests' source, never by running them.

A test function cites what its decorators, docstring, comments and strings name, and what is named in a table of the
same module that it uses. A scenario cites whatever is named anywhere in its file.
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
_NOT_READ = ("fidelity", "bench")

Citations = dict[str, list["Citation"]]


@dataclass(frozen=True, slots=True, order=True)
class Citation:
    """One test that names a fact; `test` is empty for a scenario."""

    path: str
    test: str = ""
    facts: int = 1
    """How many facts the test names in all: the fewer, the more it is about this one."""

    def __str__(self) -> str:
        return f"{self.path}::{self.test}" if self.test else self.path


def collect(known: Iterable[str], root: Path = ROOT) -> Citations:
    """From each id that is cited, known or not, to its tests, in order of their files."""
    known = tuple(known)
    found: Citations = defaultdict(list)
    for path, test, text in _tests(root):
        facts = cited_ids(text, known)
        for fact in facts:
            found[fact].append(Citation(path, test, len(facts)))
    return {fact: sorted(citations) for fact, citations in found.items()}


def _tests(root: Path) -> Iterator[tuple[str, str, str]]:
    """Path, name and words of each test and scenario."""
    for file in sorted((root / "tests").rglob("test_*.py")):
        if file.relative_to(root / "tests").parts[0] not in _NOT_READ:
            for test, text in said_by_module(file.read_text(encoding="utf-8")):
                yield file.relative_to(root).as_posix(), test, text
    for file in sorted((root / "scenarios").rglob("*.yaml")):
        yield file.relative_to(root).as_posix(), "", file.read_text(encoding="utf-8")


def said_by_module(source: str) -> Iterator[tuple[str, str]]:
    """Each test function of a module with all that it says."""
    words = _words(source)
    tree = ast.parse(source)
    lines = source.splitlines()
    tables = {
        name: _said(words, lines, node)
        for node in tree.body
        if isinstance(node, _TABLES)
        for name in _names(node)
    }
    for node in _functions(tree):
        used = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        told = [_said(words, lines, node), *(text for name, text in tables.items() if name in used)]
        yield node.name, "\n".join(told)


_TABLES = (ast.Assign, ast.AnnAssign)


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


def _names(node: ast.stmt) -> list[str]:
    return [
        inner.id
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
    ]


def _words(source: str) -> list[tuple[int, str]]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start[0], token.string) for token in tokens if token.type in _TEXTS]


def _said(words: list[tuple[int, str]], lines: list[str], node: ast.stmt) -> str:
    """What stands in a statement, its decorators, and the comment right above it."""
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    while first > 1 and lines[first - 2].startswith("#"):
        first -= 1
    return "\n".join(text for line, text in words if first <= line <= (node.end_lineno or node.lineno))

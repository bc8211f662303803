"""The public Python API: what `import simulator` offers, at what cost, and that its examples run."""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import simulator

ROOT = Path(__file__).parents[1]


def test_every_public_name_exists_and_is_documented() -> None:
    for name in simulator.__all__:
        assert inspect.getdoc(getattr(simulator, name)), f"{name} has no docstring"


def test_the_names_for_type_checkers_are_the_lazy_ones() -> None:
    tree = ast.parse(Path(simulator.__file__).read_text(encoding="utf-8"))
    (typed,) = [node for node in tree.body if isinstance(node, ast.If)]
    named = {
        alias.name: node.module
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert named == simulator._MODULE_OF
    assert sorted(named) == simulator.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Simulater'"):
        simulator.Simulater  # noqa: B018
    assert "Simulator" in dir(simulator)


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    code = "import sys, simulator; print(*(name for name in sys.modules if name.startswith('simulator.')))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []


@pytest.mark.parametrize("name", simulator.__all__)
def test_the_examples_in_docstrings_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    public = {each: getattr(simulator, each) for each in simulator.__all__}
    globs = public | {"asyncio": asyncio, "httpx": httpx}
    finder = doctest.DocTestFinder(recurse=False)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in finder.find(public[name], name, globs=globs):
        runner.run(example)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize(
    "name", ["Simulator", "load_config", "parse_config", "run_scenarios", "diagnose", "ladder"]
)
def test_every_class_and_function_of_the_api_has_an_example(name: str) -> None:
    assert ">>>" in (inspect.getdoc(getattr(simulator, name)) or "")

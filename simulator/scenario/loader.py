"""Loader for scenario files: finds them, validates them, and reports the errors of all files at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from simulator.config.problems import Problems
from simulator.config.yaml_document import Document, KeyPath, read_document
from simulator.errors import InputError
from simulator.results import SourceLocation
from simulator.scenario.file.schema import Scenario
from simulator.scenario.file.validation_messages import find_empty, input_errors, path_in_file
from simulator.scenario.steps.base import Step

SUFFIXES = frozenset({".yaml", ".yml"})
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})


def load_scenarios(paths: Iterable[Path | str]) -> list[Scenario]:
    """Load the scenarios in `paths`, files and folders, in order. Raises InputError with all errors of all files."""
    problems = Problems()
    scenarios = []
    for path, is_named in _find_files(paths, problems):
        try:
            scenario = _load(path, skip_others=not is_named)
        except InputError as error:
            _collect(error, problems)
        else:
            scenarios += [scenario] if scenario else []
    problems.raise_if_any()
    if not scenarios:
        searched = ", ".join(str(path) for path in paths)
        raise InputError(
            f"no scenario files in {searched or 'an empty list of paths'}",
            expected="*.yaml files with version: 1 and steps:",
        )
    return scenarios


def load_scenario(path: Path | str) -> Scenario:
    """Load one file. Raises InputError with all errors in it."""
    scenario = _load(Path(path), skip_others=False)
    assert scenario is not None
    return scenario


def _collect(error: InputError, problems: Problems) -> None:
    for each in getattr(error, "errors", (error,)):
        problems.take(each)


def _find_files(paths: Iterable[Path | str], problems: Problems) -> Iterator[tuple[Path, bool]]:
    """Yield each file once, with whether `paths` names it directly."""
    seen = set()
    for path in map(Path, paths):
        if path.is_dir():
            found: Sequence[Path] = sorted(_walk(path))
        elif path.exists():
            found = [path]
        else:
            problems.take(
                InputError(
                    "no such file or folder",
                    path=path,
                    expected="a scenario file or a folder with scenario files",
                )
            )
            continue
        for file in found:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, file == path


def _walk(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
            continue
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.suffix in SUFFIXES:
            yield entry


def _load(path: Path, *, skip_others: bool) -> Scenario | None:
    if path.suffix == ".toml":
        raise InputError(
            "this is a config file, not a scenario file",
            path=path,
            expected=f"a .yaml file with version: 1, name:, config: {path.name} and steps:",
        )
    document = read_document(path)
    if skip_others and not looks_like_scenario(document.data):
        return None
    if not isinstance(document.data, dict):
        raise InputError(
            "the file is empty" if document.data is None else "the top level is not a mapping",
            path=path,
            line=1,
            column=1,
            expected="version: 1, name:, config: and steps:",
        )
    scenario = _parse(document)
    scenario._path, scenario._source = path, document
    _set_locations(scenario.steps, ("steps",), document)
    return scenario


def _parse(document: Document) -> Scenario:
    problems = Problems()
    reported = find_empty(document)
    for error in reported.values():
        problems.take(error)
    try:
        scenario = Scenario.model_validate(document.data)
    except ValidationError as error:
        for each in input_errors(error, document, reported):
            problems.take(each)
        problems.raise_if_any()
        raise
    problems.raise_if_any()
    return scenario


def looks_like_scenario(data: Any) -> bool:
    """Whether a YAML file in a folder is a scenario. Others, such as Compose files, are ignored."""
    return isinstance(data, dict) and (
        "steps" in data or (data.get("version") == 1 and "services" not in data)
    )


def _set_locations(steps: Sequence[Step], path: KeyPath, document: Document) -> None:
    for index, step in enumerate(steps):
        _set_location(step, (*path, index), document)


def _set_location(step: Step, path: KeyPath, document: Document) -> None:
    step.set_location(
        SourceLocation(document.path, document.find_value(path_in_file(path, document.data)).line)
    )
    for relative, child in step.children():
        _set_location(child, (*path, *relative), document)

"""Validation messages for scenario files: location, problem and expectation of each pydantic error.

Pydantic names a value by its path through the models. That path differs from the path in the file: steps are parsed
after `request: {path: …}` was flattened into keys of the step, and pydantic adds the tags of union members.
`path_in_file` translates it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simulator.config import base_model
from simulator.config.problems import describe, suggest
from simulator.config.yaml_document import Document, KeyPath
from simulator.errors import InputError
from simulator.scenario.file.schema import Scenario
from simulator.scenario.steps import STEPS, TAG_PREFIX, find_kind

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "too_short": "at least one item",
    "string_too_short": "a non-empty string",
}
"""By pydantic's error type."""

_FREE_FORM_KEYS = frozenset({"json", "fleet"})
"""Under these keys null is an ordinary value."""

_INTERNAL_FIELDS = frozenset({"condition", "names"})
"""Fields that have no key of their own in a file."""

_PLACEHOLDER = re.compile(r"[\w/-]+\.[\w-]+")


def input_errors(
    error: ValidationError, document: Document, reported: Collection[KeyPath] = ()
) -> Iterator[InputError]:
    """Convert pydantic's errors, except those at or below a path in `reported`."""
    for detail in error.errors(include_url=False):
        path = path_in_file(_without_tags(detail["loc"]), document.data)
        if not any(path[: len(prefix)] == prefix for prefix in reported):
            yield _input_error(detail, document)


def find_empty(document: Document) -> dict[KeyPath, InputError]:
    """Find keys without a value, by their path: an expectation that was left empty would never be checked.

    YAML reads `{dfw-1.id}` without quotes as a mapping with such a key. Its path is the path of the mapping.
    """
    found = {}
    for path in _empty_paths(document.data, ()):
        mark, key = document.find_key(path), str(path[-1])
        if _PLACEHOLDER.fullmatch(key):
            location, problem = path[:-1], f"{{{key}}} without quotes is a mapping in YAML, not a placeholder"
            expected = f'"{{{key}}}", in quotes'
        else:
            location, problem = path, f'"{key}:" has no value'
            expected = f'a value; if you do not need "{key}:", remove it'
        found[location] = InputError(
            problem, path=document.path, line=mark.line, column=mark.column, expected=expected
        )
    return found


def _empty_paths(data: Any, path: KeyPath) -> Iterator[KeyPath]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        if key in _FREE_FORM_KEYS:
            continue
        if value is None and isinstance(data, dict):
            yield (*path, key)
        else:
            yield from _empty_paths(value, (*path, key))


def _input_error(detail: ErrorDetails, document: Document) -> InputError:
    path = path_in_file(_without_tags(detail["loc"]), document.data)
    context: Mapping[str, Any] = detail.get("ctx") or {}
    match detail["type"]:
        case "int_type" if "status" in path:
            problem, expected = describe(detail["input"]), "an integer, or a list of integers: [200, 201]"
        case "extra_forbidden":
            return _unknown_key(path, detail, document)
        case "missing":
            return _missing_key(path, detail, document)
        case base_model.VALUE_ERROR:
            problem, expected = context["problem"], context["expected"]
        case "literal_error":
            problem, expected = describe(detail["input"]), context["expected"].replace("'", '"')
        case kind:
            problem, expected = describe(detail["input"]), _expected(kind, detail, context)
    mark = document.find_value(path)
    owner = _name(path)
    problem = f"{owner}: {problem}" if owner else problem
    return InputError(problem, path=document.path, line=mark.line, column=mark.column, expected=expected)


def _missing_key(path: KeyPath, detail: ErrorDetails, document: Document) -> InputError:
    key = str(detail["loc"][-1])
    mark = document.find_value(path)
    owner = _name(path)
    hints = {
        "version": "version: 1",
        "name": "name: with a sentence that says what the scenario shows",
        "steps": "steps: with a list of steps",
    }
    return InputError(
        f'missing key "{key}"{f" in {owner}" if owner else ""}',
        path=document.path,
        line=mark.line,
        column=mark.column,
        expected=hints.get(key, f"{key}: with a value"),
    )


def _unknown_key(path: KeyPath, detail: ErrorDetails, document: Document) -> InputError:
    key = str(detail["loc"][-1])
    mark = document.find_key(path)
    known = sorted(_known_keys(detail["loc"][:-1]))
    owner = _name(path[:-1])
    return InputError(
        f'unknown key "{key}"{f" in {owner}" if owner else ""}{suggest(key, known)}',
        path=document.path,
        line=mark.line,
        column=mark.column,
        expected=f"one of {', '.join(known)}",
    )


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the model at a pydantic location."""
    model: Any = Scenario
    for key in location:
        if isinstance(key, str) and key.startswith(TAG_PREFIX):
            model = STEPS[key.removeprefix(TAG_PREFIX)]
        elif isinstance(key, str):
            model = find_model(model, key) or model
    return [field.alias or name for name, field in model.model_fields.items() if name not in _INTERNAL_FIELDS]


def find_model(model: Any, key: str) -> Any:
    """Return the model that the field called `key` contains, or None."""
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return _model_in(field.annotation)
    return None


def _model_in(annotation: Any) -> Any:
    if hasattr(annotation, "model_fields"):
        return annotation
    found = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((model for model in found if model is not None), None)


def _name(path: KeyPath) -> str:
    """Return the last keys of a path, such as `expect.body.matches`."""
    keys = [key for key in path if isinstance(key, str) and key != "steps"]
    keys += ["steps"] if path and path[-1] == "steps" else []
    return ".".join(keys[-3:])


def _expected(kind: str, detail: ErrorDetails, context: Mapping[str, Any]) -> str:
    if kind in _EXPECTED:
        return _EXPECTED[kind].format(**context)
    message = detail["msg"]
    return message.removeprefix("Input should be ").removeprefix("Value should be ")


def _without_tags(path: tuple[int | str, ...]) -> KeyPath:
    return tuple(key for key in path if not (isinstance(key, str) and key.startswith(TAG_PREFIX)))


def path_in_file(path: KeyPath, data: Any) -> KeyPath:
    """Translate a path through the models into one through `data`, as close to its end as the file goes."""
    found: list[str | int] = []
    for key in path:
        for step in _keys_in_file(key, data):
            found.append(step)
            data = data[step]
    return tuple(found)


def _keys_in_file(key: str | int, data: Any) -> tuple[str | int, ...]:
    """Return the key or keys in `data` that correspond to `key` of the model; none if there is no such key."""
    if isinstance(data, list):
        return (key,) if isinstance(key, int) and key < len(data) else ()
    if not isinstance(data, dict):
        # A list with one item may be written without brackets: index 0 is the value itself.
        return ()
    kind = find_kind(data)
    if kind is not None and key == kind and isinstance(data[kind], dict):
        names = [name for name in STEPS[kind].inner_keys if name in data[kind]]
        return (kind, names[0]) if names else (kind,)
    if key in data:
        return (key,)
    if kind is not None and isinstance(data[kind], dict):
        if key in data[kind]:
            return (kind, key)
        if key == "condition":
            return (kind,)
    return ()

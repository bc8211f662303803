"""What pydantic found wrong, said for the person who wrote the file: place, what was read, what was expected."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simulator.config.problems import describe, suggest
from simulator.config.yaml_document import Document, KeyPath
from simulator.errors import InputError
from simulator.scenario.file.positions import path_in_file
from simulator.scenario.file.schema import Scenario
from simulator.scenario.steps import STEPS, TAG_PREFIX

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "too_short": "at least one",
    "string_too_short": "a text that is not empty",
}


def input_errors(
    error: ValidationError, document: Document, reported: Collection[KeyPath] = ()
) -> Iterator[InputError]:
    """All but those about the places in `told`, of which enough is said already."""
    for detail in error.errors(include_url=False):
        path = path_in_file(_without_tags(detail["loc"]), document.data)
        if not any(path[: len(location)] == location for location in reported):
            yield _input_error(detail, document)


_FREE_FORM = frozenset({"json", "fleet"})
"""Under these keys a null is a value like any other."""


_INTERNAL_FIELDS = frozenset({"condition", "names"})
"""Fields for what stands in a file without a key of its own."""

_PLACEHOLDER = re.compile(r"[\w/-]+\.[\w-]+")


def find_empty(document: Document) -> dict[KeyPath, InputError]:
    """Keys with nothing after their colon: whoever left an expectation empty believes that it is checked.

    `{dfw-1.id}` without quotes is such a key to YAML, in a mapping of its own, which is the place then.
    """
    found = {}
    for path in _empty_paths(document.data, ()):
        mark, key = document.find_key(path), str(path[-1])
        if _PLACEHOLDER.fullmatch(key):
            location, problem = path[:-1], f"{{{key}}} without quotes is a mapping to YAML"
            expected = f'"{{{key}}}", in quotes'
        else:
            location, problem = path, f'nothing after "{key}:"'
            expected = f'a value, or no "{key}:" at all'
        found[location] = InputError(
            problem, path=document.path, line=mark.line, column=mark.column, expected=expected
        )
    return found


def _empty_paths(data: Any, path: KeyPath) -> Iterator[KeyPath]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        if key in _FREE_FORM:
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
            problem, expected = describe(detail["input"]), "a whole number, or a list of them: [200, 201]"
        case "extra_forbidden":
            return _unknown_key(path, detail, document)
        case "missing":
            problem, expected = f'no "{detail["loc"][-1]}:"', _missing_key_hint(str(detail["loc"][-1]))
        case "flysim":
            problem, expected = context["problem"], context["expected"]
        case "literal_error":
            problem, expected = describe(detail["input"]), context["expected"].replace("'", '"')
        case kind:
            problem, expected = describe(detail["input"]), _EXPECTED.get(kind) or _pydantic_message(detail)
    mark = document.find_value(path)
    where = _name(path)
    problem = f"{where}: {problem}" if where and detail["type"] != "missing" else problem
    return InputError(problem, path=document.path, line=mark.line, column=mark.column, expected=expected)


def _without_tags(path: tuple[int | str, ...]) -> KeyPath:
    return tuple(key for key in path if not (isinstance(key, str) and key.startswith(TAG_PREFIX)))


def _unknown_key(path: KeyPath, detail: ErrorDetails, document: Document) -> InputError:
    key = str(detail["loc"][-1])
    mark = document.find_key(path)
    known = sorted(_known_keys(detail["loc"][:-1], document))
    owner = _name(path[:-1])
    problem = f'unknown key "{key}"{f" in {owner}" if owner else ""}{suggest(key, known)}'
    return InputError(
        problem, path=document.path, line=mark.line, column=mark.column, expected=f"one of {', '.join(known)}"
    )


def _known_keys(location: tuple[int | str, ...], document: Document) -> list[str]:
    """The keys that the model at `location` has, found by walking the models along it."""
    model: Any = Scenario
    for key in location:
        if isinstance(key, str) and key.startswith(TAG_PREFIX):
            model = STEPS[key.removeprefix(TAG_PREFIX)]
        elif isinstance(key, str):
            model = find_model(model, key) or model
    return [field.alias or name for name, field in model.model_fields.items() if name not in _INTERNAL_FIELDS]


def find_model(model: Any, key: str) -> Any:
    """The model that the field called `key` holds, if it holds one."""
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
    """The last keys of a path, enough for a person to know which thing is meant."""
    words = [key for key in path if isinstance(key, str) and key != "steps"]
    words += ["steps"] if path and path[-1] == "steps" else []
    return ".".join(words[-3:])


def _missing_key_hint(key: str) -> str:
    words = {
        "version": "version: 1",
        "name": "name: with a sentence that tells what the scenario shows",
        "steps": "steps: with a list of steps",
    }
    return words.get(key, f"{key}: and a value")


def _pydantic_message(detail: ErrorDetails) -> str:
    message = detail["msg"]
    return message.removeprefix("Input should be ").removeprefix("Value should be ")

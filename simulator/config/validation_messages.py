"""Error messages for pydantic validation errors: which key, what was read, what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic import BaseModel, ValidationError

from simulator.config.base_model import VALUE_ERROR
from simulator.config.field_types import INVALID_VALUE
from simulator.config.problems import Problems, describe, name_key, suggest
from simulator.config.source import Source
from simulator.config.toml_positions import KeyPath

_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a string in quotes",
    "list_type": "a list in brackets: [ ]",
    "tuple_type": "a list in brackets: [ ]",
    "dict_type": "a table",
    "model_type": "a table",
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "greater_than": "more than {gt}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "too_short": "at least {min_length} entry",
    "string_too_short": "a non-empty string",
}

_REQUIRED = {
    "version": "version = 1",
    "edges": "[edges] with a region and a port: ams = 8080",
    "apps": "[apps.NAME] with a command and machines",
    "machines": "[[apps.NAME.machines]] with a region",
    "region": 'region = "ams"',
    "path_prefix": 'path_prefix = "/"',
    "ttl_seconds": "ttl_seconds = 60",
    "type": 'type = "cookie" or "header"',
    "name": 'name = "NAME", the name of the cookie or header',
}

TableAt = Callable[[KeyPath], "type[BaseModel] | None"]


def add_validation_error(
    problems: Problems, error: ValidationError, source: Source, table_at: TableAt
) -> None:
    """Adds one problem per pydantic error. `table_at` returns the model of the table at a path, for its keys."""
    for details in error.errors(include_url=False):
        path = tuple(key for key in details["loc"] if key != "[key]")
        kind = details["type"]
        context = {key: _plain(value) for key, value in details.get("ctx", {}).items()}
        if kind == "extra_forbidden":
            _add_unknown_key(problems, source, path, table_at)
        elif kind == "missing":
            missing = str(path[-1])
            expected = _REQUIRED.get(missing, missing)
            problems.add(f'{_in_table(path)}missing key "{missing}"', source, path[:-1], expected=expected)
        elif kind == INVALID_VALUE:
            problem = f"{name_key(path)} {context['problem']}"
            problems.add(problem, source, path, expected=context["expected"])
        elif kind == VALUE_ERROR:
            problem = f"{name_key(path)} is {context['problem']}"
            problems.add(problem, source, path, expected=context["expected"])
        else:
            if kind in ("literal_error", "enum"):
                context["expected"] = context["expected"].replace("'", '"')
            expected = _EXPECTED.get(kind, details["msg"]).format(**context) + _hint(kind, details["input"])
            problem = f"{name_key(path) or 'the document'} is {describe(details['input'])}"
            problems.add(problem, source, path, expected=expected)


def _plain(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def _hint(kind: str, value: object) -> str:
    is_number = isinstance(value, str) and value.isascii() and value.isdigit()
    if (kind == "int_type" and is_number) or (kind == "bool_type" and value in ("true", "false")):
        return f", without quotes: {value}"
    return ""


def _keys_of(table: type[BaseModel] | None) -> Iterable[str]:
    return table.model_fields if table else ()


def _add_unknown_key(problems: Problems, source: Source, path: KeyPath, table_at: TableAt) -> None:
    known = _keys_of(table_at(path[:-1]))
    problem = f'{_in_table(path)}unknown key "{path[-1]}"{suggest(str(path[-1]), known)}'
    problems.add(problem, source, path, expected=f"one of {', '.join(known)}")


def _in_table(path: KeyPath) -> str:
    return f"{name_key(path[:-1])}: " if len(path) > 1 else ""

"""Base model and field types for scenario files: strict, frozen pydantic models.

Unknown keys are rejected. Every error message names the value that was read and what was expected.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from simulator.config.duration import NOT_A_DURATION, parse_duration
from simulator.config.problems import describe


class WrittenFloat(float):
    """A float that keeps its source text, so that `1.50` stays `1.50` where a string is expected."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenFloat:
        number = cls(text)
        number.text = text
        return number


VALUE_ERROR = "flysim"
"""The type of the errors made here; their context holds the message."""


def invalid(problem: str, *, expected: str) -> PydanticCustomError:
    """The error that a validator raises: what was read (`problem`) and what was expected."""
    return PydanticCustomError(
        VALUE_ERROR, "{problem} (expected {expected})", {"problem": problem, "expected": expected}
    )


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False, strict=True)


def as_string(value: Any) -> Any:
    if isinstance(value, WrittenFloat):
        return value.text
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool):
        raise invalid(describe(value), expected=f'a string; quote the word: "{str(value).lower()}"')
    if not isinstance(value, str):
        raise invalid(describe(value), expected="a string")
    return value


Text = Annotated[str, BeforeValidator(as_string), WithJsonSchema({"type": ["string", "number"]})]
"""A string. An unquoted number is accepted too and keeps its source text."""


def _seconds(value: Any) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        problem = describe(value) if str(error) == NOT_A_DURATION else f"{describe(value)}, {error}"
        raise invalid(problem, expected="a duration, such as 500ms, 10s or 2m") from None


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+(ms|s|m|h))+$", "examples": ["500ms", "10s"]}),
]
"""Seconds, from a duration string with a unit."""


_SIZE = re.compile(r"([0-9]+)(B|kB|KiB|MB|MiB)?")
_UNIT_BYTES = {None: 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1_000_000, "MiB": 1_048_576}


def _bytes(value: Any) -> int:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        return int(match[1]) * _UNIT_BYTES[match[2]]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise invalid(describe(value), expected="a number of bytes, such as 500, 10kB or 1MiB")


Size = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}
    ),
]
"""Bytes, from an integer or a string with a unit."""


def as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class ShortForm:
    """Adds shorter forms of a value to its JSON Schema."""

    def __init__(self, *schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [*self._schemas, handler(core_schema)]}


Port = Annotated[int, Field(ge=1, le=65535)]


def check_mutually_exclusive(model: BaseModel, *names: str) -> None:
    """For mutually exclusive keys: raises a validation error if more than one of `names` is set."""
    given = [f'"{name}:"' for name in names if name in model.model_fields_set]
    if len(given) > 1:
        raise invalid(f"{' and '.join(given)} together", expected="only one of them")


class OneOrMore:
    """Adds a single item without brackets, as the short form of a list, to a JSON Schema."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [schema["items"], schema]}


TEXT_SCHEMA = {"type": ["string", "number"]}

Texts = Annotated[list[Text], BeforeValidator(as_list), OneOrMore()]
"""A list of strings, or one string."""

"""What models of things that people write in YAML are made of: strict, frozen, and with the words for what is wrong.

A key that is not known is refused.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from simulator.config.duration import parse_duration
from simulator.config.problems import describe


class WrittenFloat(float):
    """A fraction that remembers how it was written: 1.50 is not 1.5 where a text is wanted."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenFloat:
        number = cls(text)
        number.text = text
        return number


def fault(problem: str, *, expected: str) -> PydanticCustomError:
    """What a validator raises: what was read, and what was expected instead."""
    return PydanticCustomError(
        "flysim", "{problem} (expected {expected})", {"problem": problem, "expected": expected}
    )


class StrictModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False, strict=True)


def as_written(value: Any) -> Any:
    if isinstance(value, WrittenFloat):
        return value.text
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bool):
        raise fault(
            describe(value), expected=f'a text; in quotes ("{str(value).lower()}") if the word is meant'
        )
    if not isinstance(value, str):
        raise fault(describe(value), expected="a text")
    return value


Text = Annotated[str, BeforeValidator(as_written), WithJsonSchema({"type": ["string", "number"]})]
"""A text; digits count as one, as they are written."""


def _seconds(value: Any) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        problem = describe(value) if str(error) == "not a length of time" else f"{describe(value)}, {error}"
        raise fault(problem, expected="a length of time, such as 500ms, 10s or 2m") from None


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9.]+(ms|s|m|h))+$", "examples": ["500ms", "10s"]}),
]
"""Seconds, written with a unit."""


_SIZE = re.compile(r"([0-9]+)(B|kB|KiB|MB|MiB)?")
_UNIT_BYTES = {None: 1, "B": 1, "kB": 1000, "KiB": 1024, "MB": 1_000_000, "MiB": 1_048_576}


def _bytes(value: Any) -> int:
    written = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if written is not None:
        return int(written[1]) * _UNIT_BYTES[written[2]]
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise fault(describe(value), expected="a number of bytes, such as 500, 10kB or 1MiB")


Size = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}]}
    ),
]
"""Bytes."""


def as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class ShortForm:
    """In JSON Schema: the value may be written in a shorter form, too."""

    def __init__(self, *schemas: dict[str, Any]) -> None:
        self._schemas = schemas

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [*self._schemas, handler(core_schema)]}


Port = Annotated[int, Field(ge=1, le=65535)]


def refuse_together(model: BaseModel, *names: str) -> None:
    """For keys that exclude each other; raises where two of them are there."""
    given = [f'"{name}:"' for name in names if name in model.model_fields_set]
    if len(given) > 1:
        raise fault(" beside ".join(given), expected="one of the two")


class OneOrMore:
    """In JSON Schema: a list of one may be written without its brackets."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {"anyOf": [schema["items"], schema]}


TEXT_SCHEMA = {"type": ["string", "number"]}

Texts = Annotated[list[Text], BeforeValidator(as_list), OneOrMore()]
"""Several texts, or one."""

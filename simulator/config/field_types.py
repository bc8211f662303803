"""The kinds of value that configuration files hold beyond plain numbers and texts, as pydantic types.

Each refuses a wrong value in words of its own: what it is, and what was expected.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from simulator.config.duration import parse_duration
from simulator.config.problems import describe
from simulator.routing.regions import ALIASES, ANY, REGIONS, is_region
from simulator.routing.service import HTTP_PORT

REFUSED = "refused"
"""The type of the errors made here; their context holds the words."""


def refuse(problem: str, expected: str) -> PydanticCustomError:
    """`problem` is a predicate: it follows the name of the key."""
    return PydanticCustomError(REFUSED, "{problem}", {"problem": problem, "expected": expected})


def _check_port(value: object) -> object:
    if type(value) is not int or not 0 <= value <= 65535:
        raise refuse(f"is {describe(value)}", "a port: a whole number from 1 to 65535, or 0 for any free one")
    return value


def _check_public_port(value: object) -> object:
    """The keys of a table are texts in TOML, and may be numbers in YAML."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,4}", value) else value
    if type(number) is not int or not 1 <= number <= 65535:
        raise refuse("is no public port", "a port of fly.toml: a whole number from 1 to 65535")
    return number


def _check_edge(value: object) -> object:
    """One port for 80 and 443 both, or a table."""
    if isinstance(value, dict):
        if not value:
            raise refuse(
                "is an empty table", "public ports and where they are here: { 80 = 8080, 9090 = 9190 }"
            )
        return value
    return {HTTP_PORT: _check_port(value)}


def _check_alias(value: str) -> str:
    """K-29: an alias may not hide a region, nor `any` (F-7.24)."""
    if not re.fullmatch("[a-z][a-z0-9_-]*", value) or value == ANY or is_region(value):
        raise refuse("is no name for an alias", "lower-case letters, not the code of a region and not any")
    return value


def _check_internal_port(value: object) -> object:
    # flyctl takes a number written as text, too.
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) else value
    if type(number) is not int or not 1 <= number <= 65535:
        raise refuse(f"is {describe(value)}", "a port: a whole number from 1 to 65535")
    return number


def _check_region(value: object) -> object:
    if isinstance(value, str) and is_region(value):
        return value
    problem = f"is {describe(value)}"
    if isinstance(value, str):
        problem += _hint_region(value)
    raise refuse(problem, f"the code of one region of Fly: {_current_regions()}")


def _hint_region(word: str) -> str:
    if word in ALIASES or word == ANY:
        return ", which stands for several regions in fly-replay and is none itself"
    codes = {code: code for code, region in REGIONS.items() if region.current}
    cities = {REGIONS[code].name.split(",")[0].lower(): code for code in codes}
    near = difflib.get_close_matches(word.lower(), [*codes, *cities], n=1)
    return f'; did you mean "{(codes | cities)[near[0]]}"?' if near else ", which is no region"


def _current_regions() -> str:
    return ", ".join(code for code, region in REGIONS.items() if region.current)


def _check_machine_id(value: object) -> object:
    # F-7.3: 14 lower-case hex digits.
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{14}", value):
        hint = "" if isinstance(value, str) else ', so put it in quotes: "…"'
        raise refuse(f"is {describe(value)}", f"14 lower-case hex digits in a text{hint}")
    return value


def _check_app_name(value: str) -> str:
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise refuse("is no name for an app", "lower-case letters, digits and dashes, as in <app>.fly.dev")
    return value


def _check_env_name(value: str) -> str:
    # F-7.14: names of a user's own variables may not begin with FLY_.
    if value.startswith("FLY_"):
        raise refuse("is a name that Fly keeps for itself", "a variable whose name does not start with FLY_")
    if not re.fullmatch("[^=\0]+", value):
        raise refuse("is no name for a variable", "a name without = in it")
    return value


def _check_env_value(value: object) -> object:
    # Fly's documents allow texts only; flyctl turns other plain values into texts.
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**15):
        return f"{value:g}" if isinstance(value, float) else f"{value}"
    if not isinstance(value, str) or "\0" in value:
        raise refuse(f"is {describe(value)}", "a text in quotes")
    return value


def _split_command(value: object) -> object:
    expected = 'a command, such as ["python", "-m", "app"] or "python -m app"'
    words: object = value
    if isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError as error:
            raise refuse(f"is {describe(value)}: {str(error).lower()}", expected) from None
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        raise refuse(f"is {describe(value)}", expected)
    if not words[0] or any("\0" in word for word in words):
        raise refuse(f"is {describe(value)}", expected)
    return words


def _check_url(value: object) -> object:
    expected = 'where a program listens already, such as "http://127.0.0.1:4000"'
    if not isinstance(value, str):
        raise refuse(f"is {describe(value)}", expected)
    try:
        parts = urlsplit(value)
        is_right = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise refuse(f"is {describe(value)}", expected)
    return value


def duration(unit: str, example: str) -> Callable[[object], float]:
    """A check that makes seconds of a length of time; a bare number is in `unit`."""

    def check(value: object) -> float:
        try:
            return parse_duration(value, unit=unit)
        except ValueError as error:
            raise refuse(f"is {describe(value)}: {error}", f"a length of time, such as {example}") from None

    return check


def _any_of(*kinds: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(kinds)})


_TEXT: dict[str, Any] = {"type": "string"}

Port = Annotated[int, BeforeValidator(_check_port), Field(ge=0, le=65535)]
PublicPort = Annotated[int, BeforeValidator(_check_public_port)]
EdgePorts = Annotated[
    dict[PublicPort, Port],
    BeforeValidator(_check_edge),
    _any_of(
        {"type": "integer", "minimum": 0, "maximum": 65535},
        {
            "type": "object",
            "propertyNames": {"pattern": "^[1-9][0-9]{0,4}$"},
            "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 65535},
            "minProperties": 1,
        },
    ),
]
"""Public port -> port here."""
InternalPort = Annotated[int, BeforeValidator(_check_internal_port), Field(ge=1, le=65535)]
RegionCode = Annotated[str, BeforeValidator(_check_region), WithJsonSchema({"enum": list(REGIONS)})]
AliasName = Annotated[str, AfterValidator(_check_alias)]
MachineId = Annotated[str, BeforeValidator(_check_machine_id), Field(pattern="^[0-9a-f]{14}$")]
AppName = Annotated[str, AfterValidator(_check_app_name)]
EnvName = Annotated[str, AfterValidator(_check_env_name)]
EnvValue = Annotated[
    str, BeforeValidator(_check_env_value), _any_of(_TEXT, {"type": "number"}, {"type": "boolean"})
]
Command = Annotated[
    list[str],
    BeforeValidator(_split_command),
    _any_of(_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}),
]
MachineUrl = Annotated[str, BeforeValidator(_check_url), Field(json_schema_extra={"format": "uri"})]
# F-5.20: the times of checks are milliseconds unless a unit is given; kill_timeout is in seconds.
CheckDuration = Annotated[float, BeforeValidator(duration("ms", '"15s", "500ms" or 2000 (milliseconds)'))]
KillDuration = Annotated[float, BeforeValidator(duration("s", '"30s" or 30 (seconds)'))]

"""Field types of configuration files as pydantic types: ports, regions, machine ids, commands, durations.

Each type rejects an invalid value with its own error message: what was read and what was expected.
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

TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
"""RFC 9110, 5.6.2."""

INVALID_VALUE = "invalid_value"
"""The type of the errors made here; their context holds the message."""


def invalid(problem: str, expected: str) -> PydanticCustomError:
    """The error that a validator raises. `problem` is a predicate, such as `is 3`: the key's name precedes it."""
    return PydanticCustomError(INVALID_VALUE, "{problem}", {"problem": problem, "expected": expected})


_NOT_IN_FIELD = re.compile("[^\t -~\xa0-\xff]")
_HOSTNAME = re.compile(r"(?!.*--?\.)[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]", re.IGNORECASE)


def check_field_value(value: str) -> str:
    """The value of a header (RFC 9110, 5.5). flysim sends it in Latin-1."""
    found = _NOT_IN_FIELD.search(value)
    if found is not None:
        problem = f"is {describe(value)}, and a header cannot contain {_name_character(found[0])}"
        raise invalid(problem, "letters, digits, punctuation and spaces of Latin-1; encode other characters")
    return value


def check_field_name(value: str) -> str:
    """The name of a header: a token (RFC 9110, 5.6.2)."""
    if not re.fullmatch(TOKEN, value):
        raise invalid("is not a valid header name", "letters, digits and hyphens")
    return value


def _check_plain(value: str) -> str:
    found = re.search("[\\x00-\\x1f\\x7f-\\x9f]", value)
    if found is not None:
        problem = f"is {describe(value)}, and contains {_name_character(found[0])}"
        raise invalid(problem, "text without control characters")
    return value


def _check_hostname(value: str) -> str:
    if not _HOSTNAME.fullmatch(value):
        expected = (
            'a hostname without a port, such as "www.example.com"; an international one in its xn-- form'
        )
        raise invalid(f"is {describe(value)}", expected)
    return value


def _name_character(character: str) -> str:
    code = f"U+{ord(character):04X}"
    return f'"{character}" ({code})' if character.isprintable() else f"the control character {code}"


def _check_port(value: object) -> object:
    if type(value) is not int or not 0 <= value <= 65535:
        raise invalid(f"is {describe(value)}", "a port from 1 to 65535, or 0 for any free port")
    return value


def _check_public_port(value: object) -> object:
    """Keys of a table are strings in TOML and may be integers in YAML."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]{0,4}", value) else value
    if type(number) is not int or not 1 <= number <= 65535:
        raise invalid("is not a valid public port", "a port of a service in fly.toml, from 1 to 65535")
    return number


def _check_edge(value: object) -> object:
    """One port that serves both 80 and 443, or a table."""
    if isinstance(value, dict):
        if not value:
            raise invalid(
                "is an empty table", "public ports with their local ports: { 80 = 8080, 9090 = 9190 }"
            )
        return value
    return {HTTP_PORT: _check_port(value)}


def _check_alias(value: str) -> str:
    """K-29: an alias may not have the name of a region or `any` (F-7.24)."""
    if not re.fullmatch("[a-z][a-z0-9_-]*", value) or value == ANY or is_region(value):
        raise invalid(
            "is not a valid alias name",
            'a lower-case name of letters, digits, "_" and "-", not a region code and not "any"',
        )
    return value


def _check_internal_port(value: object) -> object:
    # flyctl accepts a number in quotes, too.
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) else value
    if type(number) is not int or not 1 <= number <= 65535:
        raise invalid(f"is {describe(value)}", "a port from 1 to 65535")
    return number


def _check_region(value: object) -> object:
    if isinstance(value, str) and is_region(value):
        return value
    problem = f"is {describe(value)}"
    if isinstance(value, str):
        problem += _hint_region(value)
    raise invalid(problem, f"a Fly region code: {_current_regions()}")


def _hint_region(name: str) -> str:
    if name in ALIASES or name == ANY:
        return ", an alias for several regions that only fly-replay accepts"
    codes = {code: code for code, region in REGIONS.items() if region.current}
    cities = {REGIONS[code].name.split(",")[0].lower(): code for code in codes}
    near = difflib.get_close_matches(name.lower(), [*codes, *cities], n=1)
    return f'; did you mean "{(codes | cities)[near[0]]}"?' if near else ", which is not a Fly region"


def _current_regions() -> str:
    return ", ".join(code for code, region in REGIONS.items() if region.current)


def _check_machine_id(value: object) -> object:
    # F-7.3: 14 lower-case hex digits.
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{14}", value):
        quotes = "" if isinstance(value, str) else ', in quotes: "…"'
        raise invalid(f"is {describe(value)}", f"a machine id: 14 lower-case hex digits{quotes}")
    return value


def _check_app_name(value: str) -> str:
    if not re.fullmatch("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise invalid(
            "is not a valid app name", "lower-case letters, digits and hyphens, as in <app>.fly.dev"
        )
    return value


def _check_env_name(value: str) -> str:
    # F-7.14: names of the user's own variables may not begin with FLY_.
    if value.startswith("FLY_"):
        raise invalid("is a name that Fly reserves", "a variable name that does not start with FLY_")
    if not re.fullmatch("[^=\0]+", value):
        raise invalid("is not a valid variable name", 'a name without "="')
    return value


def _check_env_value(value: object) -> object:
    # Fly documents strings only; flyctl converts other plain values to strings.
    if isinstance(value, bool):
        return f"{value}".lower()
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**15):
        return f"{value:g}" if isinstance(value, float) else f"{value}"
    if not isinstance(value, str) or "\0" in value:
        raise invalid(f"is {describe(value)}", "a string in quotes")
    return value


def _split_command(value: object) -> object:
    expected = 'a command, such as ["python", "-m", "app"] or "python -m app"'
    arguments: object = value
    if isinstance(value, str):
        try:
            arguments = shlex.split(value)
        except ValueError as error:
            raise invalid(f"is {describe(value)}: {str(error).lower()}", expected) from None
    if (
        not isinstance(arguments, list)
        or not arguments
        or not all(isinstance(each, str) for each in arguments)
    ):
        raise invalid(f"is {describe(value)}", expected)
    if not arguments[0] or any("\0" in argument for argument in arguments):
        raise invalid(f"is {describe(value)}", expected)
    return arguments


def _check_url(value: object) -> object:
    expected = 'the http URL of a running server, without a path, such as "http://127.0.0.1:4000"'
    if not isinstance(value, str) or not re.fullmatch("[!-~]+", value):  # urlsplit drops line ends and tabs
        raise invalid(f"is {describe(value)}", expected)
    try:
        parts = urlsplit(value)
        is_valid = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise invalid(f"is {describe(value)}", expected)
    return value


def duration(unit: str, example: str) -> Callable[[object], float]:
    """A validator that converts a duration to seconds; `unit` applies to a number without one."""

    def check(value: object) -> float:
        try:
            return parse_duration(value, unit=unit)
        except ValueError as error:
            raise invalid(f"is {describe(value)}: {error}", f"a duration, such as {example}") from None

    return check


def _any_of(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


_STRING: dict[str, Any] = {"type": "string"}

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
"""Public port -> local port."""
InternalPort = Annotated[int, BeforeValidator(_check_internal_port), Field(ge=1, le=65535)]
RegionCode = Annotated[str, BeforeValidator(_check_region), WithJsonSchema({"enum": list(REGIONS)})]
AliasName = Annotated[str, AfterValidator(_check_alias)]
MachineId = Annotated[str, BeforeValidator(_check_machine_id), Field(pattern="^[0-9a-f]{14}$")]
AppName = Annotated[str, AfterValidator(_check_app_name)]
EnvName = Annotated[str, AfterValidator(_check_env_name)]
EnvValue = Annotated[
    str, BeforeValidator(_check_env_value), _any_of(_STRING, {"type": "number"}, {"type": "boolean"})
]
Command = Annotated[
    list[str],
    BeforeValidator(_split_command),
    _any_of(_STRING, {"type": "array", "items": _STRING, "minItems": 1}),
]
PlainText = Annotated[str, AfterValidator(_check_plain)]
"""A control character would end a variable of a machine's environment, or change the terminal."""
Name = Annotated[str, Field(min_length=1), AfterValidator(_check_plain)]
HeaderName = Annotated[str, AfterValidator(check_field_name)]
HeaderValue = Annotated[str, AfterValidator(check_field_value)]
Hostname = Annotated[str, AfterValidator(_check_hostname)]
MachineUrl = Annotated[str, BeforeValidator(_check_url), Field(json_schema_extra={"format": "uri"})]
# F-5.20: without a unit, durations of checks are in milliseconds and kill_timeout is in seconds.
CheckDuration = Annotated[float, BeforeValidator(duration("ms", '"15s", "500ms" or 2000 (milliseconds)'))]
KillDuration = Annotated[float, BeforeValidator(duration("s", '"30s" or 30 (seconds)'))]

"""flysim.toml as it is written: its tables as pydantic models, and the JSON Schema that they make.

A key that is not named here is an error. A scenario's inline `fleet:` has the same keys.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import MISSING, fields
from dataclasses import Field as OptionField
from typing import Annotated, Any, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, create_model

from simulator.config.base_model import Duration
from simulator.config.field_types import (
    AliasName,
    AppName,
    Command,
    EdgePorts,
    EnvName,
    EnvValue,
    MachineId,
    MachineUrl,
    Port,
    RegionCode,
    refuse,
)
from simulator.config.model import DEFAULT_CONTROL_PORT, DEFAULT_START_SECONDS
from simulator.config.problems import describe
from simulator.config.toml_positions import KeyPath
from simulator.routing.options import RoutingOptions

VERSION = 1
MAX_COUNT = 100


def _check_version(value: object) -> object:
    if type(value) is not int or value != VERSION:
        raise refuse(f"is {describe(value)}", f"version = {VERSION}, the only one that this flysim reads")
    return value


OrgName = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class MachineTable(Table):
    """`[[apps.NAME.machines]]`: one machine, or `count` alike."""

    region: RegionCode = Field(description="Where the machine runs.")
    id: MachineId | None = Field(None, description="14 lower-case hex digits; made up where left out.")
    count: int = Field(1, ge=1, le=MAX_COUNT, description="How many machines of this kind.")
    group: str | None = Field(
        None, min_length=1, description="Its process group in fly.toml; left out: that of the first service."
    )
    url: MachineUrl | None = Field(None, description="A program that is already running, and only routed to.")


class AppTable(Table):
    """`[apps.NAME]`"""

    fly_toml: str | None = Field(None, description="The app's own fly.toml, from the folder of this file.")
    command: Command | None = Field(
        None,
        description="Starts one machine. {host} {port} {machine_id} {region} {dns} {python} are filled in.",
    )
    image: str | None = Field(None, min_length=1, description="A container image, for the docker backend.")
    build: str | None = Field(
        None,
        min_length=1,
        description="The folder whose Dockerfile makes that image, from the folder of this file.",
    )
    start_timeout: Duration = Field(
        DEFAULT_START_SECONDS,
        gt=0,
        description="How long a machine may take to become healthy; 30s where left out.",
    )
    org: str = Field("personal", min_length=1, description="The organization that the app belongs to.")
    network: str = Field("default", min_length=1, description="The private network that its machines are on.")
    replay_sources: list[OrgName] = Field(
        [], description="Other organizations whose apps may replay to this one."
    )
    hostnames: list[str] = Field([], description="Names, besides <app>.fly.dev, that the app answers to.")
    env: dict[EnvName, EnvValue] = Field({}, description="Variables; placeholders in values are filled in.")
    machines: list[MachineTable] = Field(description="In this order they are named: ams-1, dfw-1, dfw-2.")


class ControlTable(Table):
    """`[control]`"""

    port: Annotated[Port, Field(description="Of the control API and the page; 0: a free one.")] = (
        DEFAULT_CONTROL_PORT
    )


# What the type of an option does not tell of its values.
_OPTION_KINDS: dict[str, Any] = {
    "aliases": dict[AliasName, tuple[RegionCode, ...]],
    "attempts": Annotated[int, Strict(), Field(ge=1)],
    "cache_refusal": Annotated[float, Strict(), Field(ge=0, le=1)],
    "cross_network_replays": tuple[OrgName, ...],
}


def _option_kind(name: str, kind: Any) -> Any:
    """Of a key of `[proxy]`: strict about plain kinds, and no number below 0."""
    if name in _OPTION_KINDS:
        return _OPTION_KINDS[name]
    if kind in (int, float):
        bounds = Field(ge=400, le=599) if name.endswith("_status") else Field(ge=0)
        return Annotated[kind, Strict(), bounds]
    return Annotated[kind, Strict()] if kind in (bool, str) else kind


def _option_default(option: OptionField[Any]) -> Any:
    if option.default_factory is not MISSING:
        return Field(default_factory=option.default_factory)
    return option.default


def _proxy_table() -> type[BaseModel]:
    hints = get_type_hints(RoutingOptions)
    keys: dict[str, Any] = {
        option.name: (_option_kind(option.name, hints[option.name]), _option_default(option))
        for option in fields(RoutingOptions)
    }
    config = ConfigDict(extra="forbid", allow_inf_nan=False)
    return create_model("ProxyTable", __config__=config, __doc__="`[proxy]`", **keys)


ProxyTable = _proxy_table()


class Document(Table):
    """flysim.toml"""

    version: Annotated[int, BeforeValidator(_check_version)] = Field(
        description="Of this format.", ge=VERSION, le=VERSION
    )
    edges: dict[RegionCode, EdgePorts] = Field(
        min_length=1,
        description="Where clients connect: a region and its port, 0 for a free one; or, for further public "
        "ports of fly.toml, a table: { 80 = 8080, 9090 = 9190 }.",
    )
    apps: dict[AppName, AppTable] = Field(min_length=1, description="The first is the default for any Host.")
    proxy: ProxyTable = Field(  # type: ignore[valid-type]  # its keys are those of RoutingOptions
        default_factory=ProxyTable, description="What Fly's documents leave open."
    )
    control: ControlTable = ControlTable()


def table_at(path: KeyPath) -> type[BaseModel] | None:
    """The table whose keys stand at `path`; None where keys are free."""
    match path:
        case ():
            return Document
        case ("apps", _):
            return AppTable
        case ("apps", _, "machines", int()):
            return MachineTable
        case ("proxy",):
            return ProxyTable
        case ("control",):
            return ControlTable
    return None


def config_schema() -> dict[str, Any]:
    """JSON Schema of flysim.toml, for editors."""
    schema = Document.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    options = schema["$defs"]["ProxyTable"]["properties"]
    for name, description in _field_docs(RoutingOptions).items():
        if name in options:
            options[name]["description"] = description
    return schema


def _field_docs(kind: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass, which Python itself does not keep."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    docs = {}
    if isinstance(tree, ast.ClassDef):
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            match (field, below):
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(words))),
                ):
                    docs[name] = inspect.cleandoc(words)
    return docs

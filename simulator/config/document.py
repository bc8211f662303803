"""Schema of flysim.toml: its tables as pydantic models, and their JSON Schema.

Unknown keys are errors. A scenario's inline `fleet:` has the same keys.
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
    Hostname,
    MachineId,
    MachineUrl,
    Name,
    Port,
    RegionCode,
    invalid,
)
from simulator.config.model import DEFAULT_CONTROL_PORT, DEFAULT_START_SECONDS
from simulator.config.problems import describe
from simulator.config.toml_positions import KeyPath
from simulator.routing.options import RoutingOptions

VERSION = 1
MAX_COUNT = 100


def _check_version(value: object) -> object:
    if type(value) is not int or value != VERSION:
        raise invalid(f"is {describe(value)}", f"version = {VERSION}, the only supported version")
    return value


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class MachineTable(Table):
    """`[[apps.NAME.machines]]`: one machine, or `count` identical machines."""

    region: RegionCode = Field(description="Region that the machine runs in.")
    id: MachineId | None = Field(
        None, description="14 lower-case hex digits; generated from the seed if omitted."
    )
    count: int = Field(1, ge=1, le=MAX_COUNT, description="Number of machines.")
    group: Name | None = Field(
        None,
        description="Process group in fly.toml; defaults to that of the first service.",
    )
    url: MachineUrl | None = Field(
        None, description="URL of a server that already runs; flysim routes to it but does not start it."
    )


class AppTable(Table):
    """`[apps.NAME]`"""

    fly_toml: str | None = Field(
        None, description="Path of the app's own fly.toml, relative to the folder of this file."
    )
    command: Command | None = Field(
        None,
        description="Command that starts one machine. "
        "Placeholders: {host} {port} {machine_id} {region} {dns} {python}.",
    )
    image: Name | None = Field(None, description="Container image, for the docker backend.")
    build: Name | None = Field(
        None,
        description="Folder with the Dockerfile of that image, relative to the folder of this file.",
    )
    start_timeout: Duration = Field(
        DEFAULT_START_SECONDS,
        gt=0,
        description="How long a machine may take to become healthy. Default: 30s.",
    )
    org: Name = Field("personal", description="Organization of the app.")
    network: Name = Field("default", description="Private network of the app's machines.")
    replay_sources: list[Name] = Field(
        [], description="Other organizations whose apps may replay to this app."
    )
    hostnames: list[Hostname] = Field([], description="Hostnames of the app, in addition to <app>.fly.dev.")
    env: dict[EnvName, EnvValue] = Field(
        {}, description="Environment variables; placeholders in values are replaced."
    )
    machines: list[MachineTable] = Field(
        description="Machines, named by region and number in this order: ams-1, dfw-1, dfw-2."
    )


class ControlTable(Table):
    """`[control]`"""

    port: Annotated[Port, Field(description="Port of the control API and dashboard; 0 for a free port.")] = (
        DEFAULT_CONTROL_PORT
    )


# Constraints that the annotation of an option does not express.
_OPTION_KINDS: dict[str, Any] = {
    "aliases": dict[AliasName, tuple[RegionCode, ...]],
    "attempts": Annotated[int, Strict(), Field(ge=1)],
    "cache_refusal": Annotated[float, Strict(), Field(ge=0, le=1)],
    "cross_network_replays": tuple[Name, ...],
}


def _option_kind(name: str, kind: Any) -> Any:
    """The pydantic type of a `[proxy]` key: strict for plain types, and no negative numbers."""
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
        description="Version of the file format.", ge=VERSION, le=VERSION
    )
    edges: dict[RegionCode, EdgePorts] = Field(
        min_length=1,
        description="Where clients connect: region = port, 0 for a free port. To serve more public ports of "
        "fly.toml, a table of public port = local port: { 80 = 8080, 9090 = 9190 }.",
    )
    apps: dict[AppName, AppTable] = Field(
        min_length=1, description="Apps. The first one serves requests for unknown hostnames."
    )
    proxy: ProxyTable = Field(  # type: ignore[valid-type]  # its keys are those of RoutingOptions
        default_factory=ProxyTable, description="Proxy behavior that Fly does not document."
    )
    control: ControlTable = ControlTable()


def table_at(path: KeyPath) -> type[BaseModel] | None:
    """The model of the table at `path`; None where any key is allowed."""
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
    """Docstrings below the fields of a dataclass, by field name. Python does not keep them at run time."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    docs = {}
    if isinstance(tree, ast.ClassDef):
        for field, below in zip(tree.body, tree.body[1:], strict=False):
            match (field, below):
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(doc))),
                ):
                    docs[name] = inspect.cleandoc(doc)
    return docs

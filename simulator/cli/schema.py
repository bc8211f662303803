"""`flysim schema`: the JSON Schema of flysim's files, by which editors complete and check them."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from simulator.cli import console


class File(StrEnum):
    scenario = "scenario"
    config = "config"


def schema(file: Annotated[File, typer.Argument(metavar="scenario|config", help="Of which file.")]) -> None:
    """Print the JSON Schema of scenario files or of flysim.toml.

    Example: flysim schema scenario > scenario.schema.json
    """
    if file is File.scenario:
        from simulator.scenario import scenario_schema

        found = scenario_schema()
    else:
        from simulator.config import config_schema

        found = config_schema()
    console.write(json.dumps(found, indent=2) + "\n")

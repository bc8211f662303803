"""`flysim schema`: the JSON Schema of flysim's files, for completion and checks in editors."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer

from simulator.cli import console


class File(StrEnum):
    scenario = "scenario"
    config = "config"
    run = "run"


def schema(
    file: Annotated[File, typer.Argument(metavar="scenario|config|run", help="The kind of file.")],
) -> None:
    """Print a JSON Schema: of scenarios, config or run reports.

    Example: flysim schema scenario > scenario.schema.json
    """
    match file:
        case File.scenario:
            from simulator.scenario import scenario_schema as make_schema
        case File.config:
            from simulator.config import config_schema as make_schema
        case File.run:
            from simulator.results.document import run_schema as make_schema
    console.write(json.dumps(make_schema(), indent=2) + "\n")

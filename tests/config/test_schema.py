"""The JSON Schema of flysim.toml, for editors."""

from __future__ import annotations

import json
from dataclasses import fields

from simulator.config import config_schema
from simulator.routing.options import RoutingOptions


def test_it_is_json_and_names_every_table() -> None:
    schema = json.loads(json.dumps(config_schema()))

    assert set(schema["properties"]) == {"version", "edges", "apps", "proxy", "control"}
    assert schema["required"] == ["version", "edges", "apps"]
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["MachineTable"]["properties"]) == {"region", "id", "count", "url"}


def test_every_option_of_the_proxy_is_explained_by_its_docstring() -> None:
    options = config_schema()["$defs"]["ProxyTable"]["properties"]

    assert set(options) == {field.name for field in fields(RoutingOptions)}
    assert all(option["description"] for option in options.values())
    assert options["attempts"]["description"].startswith("K-33:")
    assert options["attempts"]["default"] == RoutingOptions().attempts


def test_an_editor_may_offer_both_forms_of_a_command() -> None:
    command = config_schema()["$defs"]["AppTable"]["properties"]["command"]

    kinds = [kind.get("type") for branch in command["anyOf"] for kind in branch.get("anyOf", [branch])]
    assert kinds == ["string", "array", "null"]

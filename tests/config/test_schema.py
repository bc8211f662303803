"""The JSON Schema of flysim.toml, for editors."""

from __future__ import annotations

import json
from dataclasses import fields

from simulator.config import config_schema
from simulator.routing.options import RoutingOptions


def test_the_schema_is_json_and_contains_every_table() -> None:
    schema = json.loads(json.dumps(config_schema()))

    assert set(schema["properties"]) == {"version", "edges", "apps", "proxy", "control"}
    assert schema["required"] == ["version", "edges", "apps"]
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["MachineTable"]["properties"]) == {"region", "id", "count", "group", "url"}


def test_every_proxy_option_is_described_by_its_docstring() -> None:
    options = config_schema()["$defs"]["ProxyTable"]["properties"]

    assert set(options) == {field.name for field in fields(RoutingOptions)}
    assert all(option["description"] for option in options.values())
    assert options["attempts"]["description"].startswith("K-33:")
    assert options["attempts"]["default"] == RoutingOptions().attempts


def test_the_schema_allows_both_forms_of_a_command() -> None:
    command = config_schema()["$defs"]["AppTable"]["properties"]["command"]

    kinds = [kind.get("type") for branch in command["anyOf"] for kind in branch.get("anyOf", [branch])]
    assert kinds == ["string", "array", "null"]


def test_an_edge_is_a_port_or_a_table_of_public_ports() -> None:
    one, table = config_schema()["properties"]["edges"]["additionalProperties"]["anyOf"]

    assert (one["type"], table["type"]) == ("integer", "object")


def test_the_schema_lists_the_values_of_enums_and_the_regions_of_aliases() -> None:
    options = config_schema()["$defs"]["ProxyTable"]["properties"]

    assert options["websocket_replay"]["enum"] == ["any", "only_101", "only_non_101"]
    assert "ams" in options["aliases"]["additionalProperties"]["items"]["enum"]
    assert (options["cache_refusal"]["minimum"], options["cache_refusal"]["maximum"]) == (0, 1)
    assert (options["overload_status"]["minimum"], options["overload_status"]["maximum"]) == (400, 599)

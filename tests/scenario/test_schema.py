"""JSON Schema of scenario files."""

from __future__ import annotations

import json

from simulator.scenario import scenario_schema
from simulator.scenario.steps import STEPS


def test_the_schema_is_json_and_names_every_step() -> None:
    schema = scenario_schema()
    assert json.loads(json.dumps(schema)) == schema
    steps = {
        key
        for definition in schema["$defs"].values()
        for key in definition.get("required", ())
        if key in STEPS
    }
    assert steps == set(STEPS)


def test_the_schema_has_both_forms_of_a_request() -> None:
    request = scenario_schema()["$defs"]["RequestStep"]["properties"]["request"]
    text, mapping = request["anyOf"]
    assert "string" in text["type"]
    assert {"path", "url", "method", "expect"} <= mapping["properties"].keys()
    assert mapping["additionalProperties"] is False


def test_the_schema_uses_the_names_of_the_file() -> None:
    expectation = scenario_schema()["$defs"]["Expectation"]["properties"]
    assert "json" in expectation
    assert "json_" not in expectation
    assert "condition" not in scenario_schema()["$defs"]["WaitUntilStep"]["properties"]

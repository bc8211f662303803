"""Schema of a scenario file: its top-level keys, and the JSON Schema of the whole file for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from simulator.config.base_model import Duration, StrictModel, Text, Texts, invalid
from simulator.scenario.steps import Steps
from simulator.scenario.steps.base import Step

DEFAULT_TIMEOUT_SECONDS = 120.0


class Scenario(StrictModel):
    """One scenario file."""

    version: Literal[1]
    name: Text = Field(min_length=1)
    """A sentence that says what the scenario shows."""
    config: Text | None = None
    """A flysim.toml or fly.toml, relative to the scenario file."""
    fleet: dict[str, Any] | None = None
    """Instead of `config`: the content of a flysim.toml."""
    env: dict[str, Text] | None = None
    """Added to the environment of every app. Scenarios with different `env` do not share a fleet."""
    fresh: bool = False
    """Run on newly started machines: the memory of an app is not reset between scenarios."""
    seed: int | None = Field(default=None, ge=0)
    tags: Texts | None = None
    """Words that `-k` matches, in addition to name and path."""
    holds: dict[Text, Texts] | None = None
    """The rules that the scenario proves, by id, each with the part that it shows. flysim itself does not read it."""
    backends: list[Literal["process", "docker", "swarm"]] | None = Field(default=None, min_length=1)
    """The backends that can run it. On others it is skipped."""
    reason: Text | None = None
    """Why other backends cannot run it."""
    timeout: Duration = DEFAULT_TIMEOUT_SECONDS
    """For the whole scenario, on the real clock."""
    steps: Steps

    _path: Path = PrivateAttr(default_factory=Path)
    _source: Any = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_key_combination(self) -> Scenario:
        if self.config is not None and self.fleet is not None:
            raise invalid("both config: and fleet: are given", expected="one of the two")
        if self.config is None and self.fleet is None:
            raise invalid(
                "neither config: nor fleet: is given", expected="config: ../flysim.toml, or an inline fleet:"
            )
        if self.backends is not None and self.reason is None:
            raise invalid(
                "backends: without reason:",
                expected="reason: with an explanation why other backends cannot run it",
            )
        return self

    @property
    def path(self) -> Path:
        return self._path

    @property
    def source(self) -> Any:
        """The `Document` that it was parsed from. It locates the keys of `fleet` in error messages."""
        return self._source

    @property
    def all_steps(self) -> list[Step]:
        return list(self.steps)


def scenario_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file."""
    schema = Scenario.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A flysim scenario"}

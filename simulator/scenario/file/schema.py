"""A scenario file, as it is written: everything beside the steps, and the JSON Schema of it all for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from simulator.config.base_model import Duration, StrictModel, Text, Texts, fault
from simulator.scenario.steps import Steps
from simulator.scenario.steps.base import Step

DEFAULT_TIMEOUT_SECONDS = 120.0


class Scenario(StrictModel):
    """One scenario. Where it was read from is `path`."""

    version: Literal[1]
    name: Text = Field(min_length=1)
    """What it shows, as a sentence."""
    config: Text | None = None
    """A flysim.toml or fly.toml, relative to the scenario file."""
    fleet: dict[str, Any] | None = None
    """In the place of `config`: what a flysim.toml says, written here."""
    env: dict[str, Text] | None = None
    """Put on top of every app's own variables; a fleet with other variables is another fleet."""
    fresh: bool = False
    """On machines that have served nobody before: what they remember is not reset between scenarios."""
    seed: int | None = Field(default=None, ge=0)
    tags: Texts | None = None
    """Words that `-k` finds too."""
    backends: list[Literal["process", "docker", "swarm"]] | None = Field(default=None, min_length=1)
    """Where it can be played at all; elsewhere it is skipped."""
    reason: Text | None = None
    """Why it cannot be played elsewhere."""
    timeout: Duration = DEFAULT_TIMEOUT_SECONDS
    """For the whole scenario, on the real clock."""
    steps: Steps

    _path: Path = PrivateAttr(default_factory=Path)
    _source: Any = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _fits_together(self) -> Scenario:
        if self.config is not None and self.fleet is not None:
            raise fault("config: and fleet: in one scenario", expected="one of the two")
        if self.config is None and self.fleet is None:
            raise fault(
                "neither config: nor fleet:", expected="config: ../flysim.toml, or a fleet: written here"
            )
        if self.backends is not None and self.reason is None:
            raise fault("backends: without reason:", expected="reason: with the words for it")
        return self

    @property
    def path(self) -> Path:
        return self._path

    @property
    def source(self) -> Any:
        """The `Document` that it was read from: a `Source` for whoever reads `fleet`."""
        return self._source

    @property
    def all_steps(self) -> list[Step]:
        return list(self.steps)


def scenario_schema() -> dict[str, Any]:
    """JSON Schema of a scenario file."""
    schema = Scenario.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A flysim scenario"}

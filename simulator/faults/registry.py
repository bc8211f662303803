"""Registry of faults: the field names of `FaultChoice` are the keys in scenario files."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from simulator.config.base_model import StrictModel, invalid
from simulator.config.problems import describe
from simulator.faults.base import Fault
from simulator.faults.fail_first import FailFirst
from simulator.faults.kill import Kill
from simulator.faults.latency import Latency
from simulator.faults.partition import Partition
from simulator.faults.pause import Pause
from simulator.faults.reset import Reset
from simulator.faults.silent import Silent
from simulator.faults.slow_start import SlowStart
from simulator.faults.stop import Stop


class FaultChoice(StrictModel):
    """A mapping with one fault under its key, as in `{silent: dfw-1}`."""

    stop: Stop | None = None
    kill: Kill | None = None
    pause: Pause | None = None
    slow_start: SlowStart | None = None
    silent: Silent | None = None
    reset: Reset | None = None
    latency: Latency | None = None
    fail_first: FailFirst | None = None
    partition: Partition | None = None

    @model_validator(mode="before")
    @classmethod
    def _is_mapping(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            raise invalid(describe(data), expected=f"a mapping with one of {', '.join(FAULTS)}")
        return data

    @model_validator(mode="after")
    def _is_one(self) -> FaultChoice:
        if len(self.model_fields_set) != 1:
            given = " and ".join(f'"{key}:"' for key in FAULTS if key in self.model_fields_set) or "no fault"
            raise invalid(f"{given} in one step", expected=f"one of {', '.join(FAULTS)}")
        return self

    @property
    def chosen(self) -> Fault:
        chosen: Fault = next(getattr(self, key) for key in self.model_fields_set)
        return chosen


FAULTS = tuple(FaultChoice.model_fields)

"""What all models of a scenario file are made of.

A key with nothing after its colon is refused, too (see `loader`): an expectation that was left empty by mistake must
not pass.
"""

from __future__ import annotations

from simulator.config.written import (
    TEXT_SCHEMA,
    Duration,
    OneOrMore,
    Port,
    ShortForm,
    Strict,
    Text,
    Texts,
    WrittenFloat,
    as_list,
    as_written,
    fault,
    refuse_together,
)

__all__ = [
    "TEXT_SCHEMA",
    "Duration",
    "OneOrMore",
    "Port",
    "ShortForm",
    "Strict",
    "Text",
    "Texts",
    "WrittenFloat",
    "as_list",
    "as_written",
    "fault",
    "refuse_together",
]

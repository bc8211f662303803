"""JSON report of a run: the document that `simulator.results.document` defines."""

from __future__ import annotations

from simulator.results import RunResult
from simulator.results.document import run_document
from simulator.text import to_json


def json_report(run: RunResult) -> str:
    """Return the document, indented, with Unicode characters. `flysim schema run` prints its schema."""
    return to_json(run_document(run), indent=2)

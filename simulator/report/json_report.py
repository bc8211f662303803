"""JSON report of a run: the document that `simulator.results.document` defines."""

from __future__ import annotations

import json

from simulator.results import RunResult
from simulator.results.document import run_document


def json_report(run: RunResult) -> str:
    """Return the document, indented, with Unicode characters. `flysim schema run` prints its schema."""
    return json.dumps(run_document(run), ensure_ascii=False, indent=2)

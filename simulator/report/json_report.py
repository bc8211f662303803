"""The JSON report of a run: the document that `simulator.results.document` defines, as text."""

from __future__ import annotations

import json

from simulator.results import RunResult
from simulator.results.document import run_document


def json_report(run: RunResult) -> str:
    """The document, indented, in Unicode. `flysim schema run` prints its schema."""
    return json.dumps(run_document(run), ensure_ascii=False, indent=2)

"""Files that commands write."""

from __future__ import annotations

import json
from pathlib import Path

from simulator.cli.fleet import write_file


def test_a_lone_surrogate_in_a_report_is_written_as_an_escape(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    write_file(report, json.dumps({"name": "a\udce9 ✓"}, ensure_ascii=False))
    assert report.read_text(encoding="utf-8") == '{"name": "a\\udce9 ✓"}'
    assert json.loads(report.read_text(encoding="utf-8"))["name"] == "a\udce9 ✓"

"""Files that commands write."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import pytest

from simulator.cli.fleet import ready_file, write_file

EDGES = {"edges": {"ams": "http://127.0.0.1:8080"}}


class Started:
    """The part of a simulator that a ready file describes."""

    def ready(self) -> dict[str, Any]:
        return EDGES


SIMULATOR = cast("Any", Started())


def test_a_lone_surrogate_in_a_report_is_written_as_an_escape(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    write_file(report, json.dumps({"name": "a\udce9 ✓"}, ensure_ascii=False))
    assert report.read_text(encoding="utf-8") == '{"name": "a\\udce9 ✓"}'
    assert json.loads(report.read_text(encoding="utf-8"))["name"] == "a\udce9 ✓"


@pytest.mark.parametrize("token", [None, "secret"])
def test_a_ready_file_that_is_a_pipe_or_device_is_written_to_and_stays(
    tmp_path: Path, token: str | None
) -> None:
    """As root, `--ready-file /dev/null` must not replace the device for all programs of the computer."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with ready_file(path, SIMULATOR, token):
            assert json.loads(os.read(reader, 4096))["edges"] == EDGES["edges"]
        assert path.is_fifo()
        assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
    finally:
        os.close(reader)


def test_a_ready_file_behind_a_link_is_replaced_and_removed_and_the_link_stays(tmp_path: Path) -> None:
    link, target = tmp_path / "link.json", tmp_path / "target.json"
    link.symlink_to(target)
    with ready_file(link, SIMULATOR):
        assert json.loads(target.read_text()) == EDGES
        assert link.is_symlink()
    assert link.is_symlink()
    assert not target.exists()

"""docs/python.md: its examples run, one after the other, and its table has every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import simulator

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_examples_run_in_the_order_of_the_page(tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text("\n".join(EXAMPLES), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    hops = result.stdout.splitlines()
    assert hops[0].startswith("GET /?instance=286533db064e58  at edge ams  → 200 from dfw-1")
    assert "502 PR04" in result.stdout or "503 PR04" in result.stdout
    assert "stale-cookie: ams-1 replayed to instance=286533db064e58, but dfw-1 is stopped" in result.stdout
    assert "    + fly-replay: prefer_instance=286533db064e58" in result.stdout
    assert "passed, 0 failed" in result.stdout


def test_the_table_has_every_public_name() -> None:
    table = PAGE[PAGE.index("## Public names") :]
    assert set(re.findall(r"`(\w+)`", table)) - {"simulator"} == set(simulator.__all__)

"""docs/docker.md: it lists the variables of the Compose files, and its example is valid."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from simulator.config.compose.labels import LABELS
from simulator.config.compose.reader import read_compose

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "docker.md").read_text(encoding="utf-8")


def test_every_variable_of_the_demo_is_documented_and_no_other() -> None:
    files = "".join((ROOT / name).read_text() for name in ("docker-compose.yml", "docker-compose.engine.yml"))

    of_commands = {"FLYSIM_CONTROL", "FLYSIM_READY"}
    assert set(re.findall(r"\$\{(FLYSIM_\w+)", files)) == set(re.findall(r"\bFLYSIM_\w+", PAGE)) - of_commands


def test_every_label_is_documented() -> None:
    assert set(re.findall(r"^\| `(fly\.\w+)` \|", PAGE, re.MULTILINE)) == set(LABELS)


def test_the_example_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "compose.yml").write_text(example)

    file = read_compose(tmp_path / "compose.yml", None, {})

    assert [(machine.name, machine.lookup) for machine in file.machines] == [
        ("ams-1", "ams-1"),
        ("dfw-1", "dfw-1"),
    ]


@pytest.mark.docker
@pytest.mark.parametrize(
    "overlay", [(), ("-f", "docker-compose.engine.yml")], ids=["demo", "with the engine"]
)
def test_compose_accepts_the_files(overlay: tuple[str, ...]) -> None:
    command = ["docker", "compose", "-f", "docker-compose.yml", *overlay, "config", "--quiet"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert (result.returncode, result.stderr) == (0, "")

"""The built wheel, installed into an empty environment, runs the demo from an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.e2e.command import ROOT, wait_for


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_carries_the_demo_and_its_scenarios(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "simulator/bundled/flysim.toml" in names
    assert "simulator/bundled/sample_app/fly.toml" in names
    for scenario in (ROOT / "scenarios").rglob("*.yaml"):
        assert f"simulator/bundled/scenarios/{scenario.relative_to(ROOT / 'scenarios')}" in names
    assert any(name.startswith("sample_app/static/") for name in names)


@pytest.mark.slow
def test_flysim_demo_works_from_an_empty_folder_and_environment(wheel: Path, tmp_path: Path) -> None:
    environment, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [environment / "bin" / "pip", "install", "--quiet", wheel], check=True, capture_output=True
    )
    ready, log = tmp_path / "ready.json", tmp_path / "demo.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [environment / "bin" / "flysim", "demo", "--free-ports", "--ready-file", ready],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "flysim demo", log)
        assert process.poll() is None, log.read_text()
        edge = json.loads(ready.read_text())["edges"]["ams"]
        answer = httpx.get(edge, params={"instance": "286533db064e58"}, trust_env=False)
        assert answer.status_code == 200
        assert "286533db064e58" in answer.text
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text()

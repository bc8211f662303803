"""The built wheel, installed into an empty environment: its files, the demo, and the bundled scenarios."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.e2e.command import DEADLINE_SECONDS, ROOT, wait_for

DFW = "286533db064e58"
TOP_LEVEL = """
from importlib import metadata
print(*sorted({file.parts[0] for file in metadata.files("flysim") if file.parts[0] != ".."}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel. Its dependencies come from the running one, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-deps", wheel],
        check=True,
        capture_output=True,
    )
    packages = next(folder.glob("lib/python*/site-packages"))
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "dependencies.pth").write_text("\n".join(ours) + "\n")
    return folder


def clean_environment() -> dict[str, str]:
    """The environment variables without PYTHONPATH, which could make this checkout importable."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def test_the_wheel_contains_the_demo_and_its_scenarios(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "simulator/bundled/flysim.toml" in names
    for folder, pattern in (("sample_app", "*.py"), ("sample_app", "static/*"), ("scenarios", "*.yaml")):
        for path in (ROOT / folder).rglob(pattern):
            assert f"simulator/bundled/{path.relative_to(ROOT)}" in names
    assert "simulator/bundled/sample_app/fly.toml" in names
    assert "simulator/bundled/sample_app/Dockerfile" in names


def test_the_wheel_installs_one_top_level_package_and_a_script(environment: Path) -> None:
    output = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", TOP_LEVEL], check=True, capture_output=True, text=True
    ).stdout
    info, package = output.split()
    assert package == "simulator"
    assert info.startswith("flysim-")
    assert info.endswith(".dist-info")
    assert (environment / "bin" / "flysim").exists()


@pytest.mark.slow
def test_flysim_demo_works_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    ready, log = tmp_path / "ready.json", tmp_path / "demo.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [environment / "bin" / "flysim", "demo", "--free-ports", "--ready-file", ready],
            cwd=folder,
            stdout=output,
            stderr=output,
            env=clean_environment(),
        )
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "flysim demo", log)
        assert process.poll() is None, log.read_text()
        edge = json.loads(ready.read_text())["edges"]["ams"]
        response = httpx.get(edge, params={"instance": DFW}, trust_env=False)
        assert response.status_code == 200
        assert DFW in response.text
    finally:
        process.terminate()
        assert process.wait(20) == 0, log.read_text()


def test_flysim_run_passes_on_a_bundled_scenario(environment: Path, tmp_path: Path) -> None:
    (scenario,) = environment.glob("lib/python*/site-packages/simulator/bundled/scenarios/cookie.yaml")
    result = subprocess.run(
        [environment / "bin" / "flysim", "run", scenario],
        cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "1 passed, 0 failed"

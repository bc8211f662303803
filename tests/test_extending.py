"""docs/extending.md: its reporter and its backend are packages that flysim finds and uses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.errors import InputError
from simulator.machines import backend_name
from simulator.plugins import load_plugin, plugin_names
from simulator.report import find_reporter
from tests.e2e.command import flysim

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
CHECK_LABELS = """
import os, psutil
others = [each for each in psutil.Process(os.getppid()).children() if each.pid != os.getpid()]
machines = [each for each in others if "sample_app" in each.cmdline()]
assert [each.environ()["LABEL"] for each in machines] == ["nightly"] * 3, machines
"""


def install(folder: Path) -> None:
    """What pip would make of the page's packages: modules, and a distribution's metadata with its entry points."""
    metadata = folder / "flysim_examples-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: flysim-examples\nVersion: 1.0\n")
    points = []
    for language, code in re.findall(r"^```(python|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        if language == "python":
            (folder / code.splitlines()[0].removeprefix("# ")).write_text(code, encoding="utf-8")
        else:
            points += re.findall(r'^\[project\.entry-points\."(.+)"\]\n(\w+) = "(.+)"', code, re.MULTILINE)
    text = "".join(f"[{group}]\n{name} = {value}\n" for group, name, value in points)
    (metadata / "entry_points.txt").write_text(text)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    install(folder)
    monkeypatch.syspath_prepend(folder)
    for module in ("flysim_markdown", "flysim_label"):  # each test has files of its own
        monkeypatch.delitem(sys.modules, module, raising=False)
    return folder


def test_the_reporter_of_another_package_writes_its_report(packages: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.md"
    command = ("run", "scenarios/parameter.yaml", "--report", f"markdown={report}")
    result = flysim(*command, env={"PYTHONPATH": str(packages)})
    assert result.returncode == 0, result.stderr
    assert report.read_text().startswith("| scenario | verdict | time |\n|---|---|---|\n| ")
    assert " | passed | " in report.read_text()


def test_the_backend_of_another_package_runs_the_machines(packages: Path) -> None:
    command = ("exec", "--backend", "label:nightly", "--", sys.executable, "-c", CHECK_LABELS)
    result = flysim(*command, env={"PYTHONPATH": str(packages)})
    assert result.returncode == 0, result.stderr


def test_the_contract_suite_runs_on_the_backend_of_another_package(packages: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_label.py"],
        cwd=packages,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    assert re.search(r"\d\d passed", result.stdout)


@pytest.mark.usefixtures("packages")
def test_an_unknown_plugin_is_an_error_that_lists_the_known_ones() -> None:
    assert plugin_names("flysim.reporters")[-1] == "markdown"
    with pytest.raises(InputError, match=r"no reporter 'pdf'\n  expected: one of json, junit, markdown"):
        find_reporter("pdf")
    with pytest.raises(
        InputError, match=r"no backend 'lable'\n  expected: one of process, docker, swarm, label, or"
    ):
        backend_name("lable")
    with pytest.raises(InputError, match="no backend 'label:'"):
        backend_name("label:")


def test_a_plugin_that_cannot_be_loaded_names_its_package_and_the_cause(packages: Path) -> None:
    (packages / "flysim_markdown.py").write_text("import nothing_of_that_name")
    with pytest.raises(
        InputError, match=r"'markdown' of flysim-examples cannot be loaded: ModuleNotFoundError"
    ):
        find_reporter("markdown")
    (packages / "flysim_label.py").write_text("LABEL = 7")
    with pytest.raises(InputError, match="'label' is not a backend: 7"):
        backend_name("label")
    assert load_plugin("flysim.reporters", "nothing") is None


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            "raise RuntimeError('boom')",
            "the reporter 'markdown' failed: RuntimeError: boom\n  hint: traceback: ",
        ),
        (
            "return b'x'",
            "the reporter 'markdown' returned bytes\n  hint: a reporter returns the text of a file",
        ),
    ],
)
def test_a_reporter_that_fails_is_named_and_the_other_reports_are_written(
    packages: Path, tmp_path: Path, body: str, problem: str
) -> None:
    (packages / "flysim_markdown.py").write_text(f"def markdown(run):\n    {body}\n")
    command = ("run", "scenarios/parameter.yaml", "--report", f"markdown={tmp_path / 'a'}")
    result = flysim(*command, "--json", str(tmp_path / "b"), env={"PYTHONPATH": str(packages)})
    assert (result.returncode, "Traceback" in result.stderr) == (3, False)
    assert problem in result.stderr
    assert json.loads((tmp_path / "b").read_text())["passed"] == 1


def test_a_backend_that_fails_is_named(packages: Path) -> None:
    source = "from simulator.machines import BackendKind\ndef make(*arguments):\n    1 / 0\nLABEL = BackendKind(make)\n"
    (packages / "flysim_label.py").write_text(source)
    result = flysim("exec", "--backend", "label", "--", "true", env={"PYTHONPATH": str(packages)})
    assert result.returncode == 3
    assert "the backend 'label' failed: ZeroDivisionError" in result.stderr


def test_a_plugin_that_is_no_function_or_ends_the_program_is_an_error(packages: Path) -> None:
    (packages / "flysim_markdown.py").write_text("markdown = 7")
    with pytest.raises(InputError, match="the plugin 'markdown' is not a reporter: 7"):
        find_reporter("markdown")
    (packages / "flysim_label.py").write_text("import sys\nsys.exit(7)")
    with pytest.raises(InputError, match="cannot be loaded: SystemExit: 7"):
        backend_name("label")


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("lambda *arguments: None", "the backend 'label' made None, which lacks watch, launch, "),
        ("lambda *arguments: 1, adapt=lambda config: None", "the backend 'label' adapted the config to None"),
    ],
)
def test_a_backend_plugin_that_returns_something_else_is_named(
    packages: Path, kind: str, problem: str
) -> None:
    source = f"from simulator.machines import BackendKind\nLABEL = BackendKind({kind})\n"
    (packages / "flysim_label.py").write_text(source)
    result = flysim("exec", "--backend", "label", "--", "true", env={"PYTHONPATH": str(packages)})
    assert (result.returncode, problem in result.stderr) == (3, True), result.stderr


def test_a_plugin_of_the_wrong_type_with_an_argument_is_an_error(packages: Path) -> None:
    (packages / "flysim_label.py").write_text("LABEL = 7")
    with pytest.raises(InputError, match="'label' is not a backend: 7"):
        backend_name("label:x")

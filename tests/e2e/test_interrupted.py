"""Ctrl-C at any moment and closed pipes: no traceback, no lost results, the right exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.e2e.command import DEADLINE_SECONDS, FLYSIM, ROOT, flysim, start_up, wait_for
from tests.e2e.test_error_paths import output_of, start, tiny_config

SLOW = """
version: 1
name: It is slow
config: flysim.toml
steps:
  - shell: touch slow; sleep 600
    timeout: 700s
"""


def two_scenarios(folder: Path) -> None:
    """The first passes at once, the second never ends."""
    tiny_config(folder)
    (folder / "second.yaml").write_text(SLOW)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc to see the progress of the start")
@pytest.mark.parametrize("after_ms", range(0, 400, 40))
def test_ctrl_c_during_imports_prints_no_traceback(tmp_path: Path, after_ms: int) -> None:
    process = start("up", "-c", str(tiny_config(tmp_path)), "-q", start_new_session=True)
    # Earlier, the Python interpreter itself is starting, and flysim cannot handle signals yet.
    wait_for(lambda: _has_begun_to_import(process.pid) or process.poll() is not None, "the first imports")
    time.sleep(after_ms / 1000)  # No condition to wait for: the test covers arbitrary moments.
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=DEADLINE_SECONDS)
    assert "Traceback" not in stderr
    assert process.returncode in (0, 130, -signal.SIGINT)


def _has_begun_to_import(pid: int) -> bool:
    try:
        return "_asyncio" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("times", [2, 3, 6])
def test_repeated_ctrl_c_leaves_no_traceback_and_no_machine(tmp_path: Path, times: int) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "stubborn").touch()
    with start_up(tmp_path, config) as up:
        for _ in range(times):
            up.process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # Without a pause, the kernel merges the signals.
        assert up.process.wait(DEADLINE_SECONDS) in (0, 130)
        text = up.log.read_text()
        assert "Traceback" not in text
        assert "before all machines were healthy" not in text
        wait_for(lambda: not _machines_of(tmp_path), "the machine to exit", up.log)


def _machines_of(folder: Path) -> list[psutil.Process]:
    found = psutil.process_iter(["cwd", "cmdline"])
    return [each for each in found if each.info["cwd"] == str(folder) and "app.py" in each.info["cmdline"]]


def test_an_interrupted_run_reports_the_finished_scenarios(tmp_path: Path) -> None:
    two_scenarios(tmp_path)
    report = tmp_path / "report.json"
    process = start("run", str(tmp_path), "--json", str(report), "--junit", str(tmp_path / "report.xml"))
    wait_for((tmp_path / "slow").exists, "the second scenario")
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 130
    assert output_of(process).read().splitlines()[-1] == "1 passed, 0 failed, 1 not run"
    assert [each["name"] for each in json.loads(report.read_text())["scenarios"]] == ["It responds"]
    assert (tmp_path / "report.xml").read_text().startswith("<?xml")


def test_a_run_with_a_closed_stdout_writes_its_reports_and_exits_with_its_result(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    report = tmp_path / "report.json"
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run(
        [*FLYSIM, "run", str(tmp_path), "--json", str(report)],
        cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=DEADLINE_SECONDS, check=False,
    )  # fmt: skip
    os.close(writing)
    assert result.returncode == 0, result.stderr
    assert json.loads(report.read_text())["passed"] == 1


def test_with_a_report_on_stdout_the_results_go_to_stderr(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    result = flysim("run", str(tmp_path), "--json", "-", cwd=tmp_path)
    assert json.loads(result.stdout)["passed"] == 1
    assert "✓ It responds" in result.stderr
    assert not (tmp_path / "-").exists()
    both = flysim("run", str(tmp_path), "--json", "-", "--junit", "-", cwd=tmp_path)
    assert both.returncode == 2
    assert "several reports" in both.stderr


def test_a_reader_of_stdout_that_is_gone_costs_no_report_file(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    command = [*FLYSIM, "run", str(tmp_path), "--json", "-", "--junit", str(tmp_path / "report.xml")]
    subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False)
    os.close(writing)
    assert "testsuite" in (tmp_path / "report.xml").read_text()


def test_a_report_on_stdout_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    for scenario in tmp_path.glob("*.yaml"):
        scenario.write_text(scenario.read_text(encoding="utf-8").replace("It responds", "Él responde ✓"))
    process = subprocess.run(
        [*FLYSIM, "run", str(tmp_path), "--json", "-"],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert json.loads(process.stdout.decode("utf-8"))["scenarios"][0]["name"] == "Él responde ✓"


def test_settings_that_are_not_emulated_are_one_warning_and_none_when_quiet(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    with (tmp_path / "fly.toml").open("a") as file:
        file.write("[http_service.http_options]\ncompress = true\nheaders_read_timeout = 5\n")
    options = "http_service.http_options.compress, http_service.http_options.headers_read_timeout"
    line = f"fly.toml: 2 settings are not emulated: {options}"
    lines = flysim("run", str(tmp_path)).stderr.splitlines()
    assert [each for each in lines if "warning" in each] == [f"warning: {tmp_path}/{line}"]
    assert flysim("run", "-q", str(tmp_path)).stderr == ""
    config = str(tmp_path / "flysim.toml")
    assert flysim("exec", "-q", "-c", config, "--", "true").stderr == ""

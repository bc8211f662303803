"""Runs of `flysim` as a process, with its output and exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.errors import SimulatorError
from simulator.retry import poll_blocking
from tests.asyncio_errors import check_output

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 30.0
FLYSIM = (sys.executable, "-P", "-m", "simulator")
"""Like the installed command: -P keeps modules in the working directory off the import path."""


def flysim(
    *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [*FLYSIM, *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    check_output(result.stderr)
    return result


@dataclass
class Up:
    """A running `flysim up`."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    log: Path

    def edge(self, region: str) -> str:
        url: str = self.ready["edges"][region]
        return url

    def flysim(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command against this simulator. It runs inside the test process, which saves the start-up time."""
        result = CliRunner().invoke(app, arguments, env={"FLYSIM_CONTROL": self.ready["control"]})
        error = result.exception
        if isinstance(error, SimulatorError):
            return subprocess.CompletedProcess(arguments, error.exit_status, result.stdout, str(error))
        assert isinstance(error, SystemExit | None), error
        return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()

    def wait_for_line(self, text: str) -> None:
        wait_for(lambda: any(text in line for line in self.lines()), f"a line with {text!r}", self.log)


@contextmanager
def flysim_up(folder: Path) -> Iterator[Up]:
    """Run `flysim up` with the demo on free ports during the block, then stop it with Ctrl-C."""
    with start_up(folder) as up:
        yield up
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(DEADLINE_SECONDS) == 0, up.log.read_text()


@contextmanager
def start_up(folder: Path, config: Path | None = None, *options: str, cwd: Path = ROOT) -> Iterator[Up]:
    """Run `flysim up` during the block, with the demo on free ports or with `config`; then kill it if it still runs."""
    ready, log = folder / "ready.json", folder / "up.log"
    ready.unlink(missing_ok=True)  # A previous run may have left it.
    command = [*FLYSIM, "up", "-c", str(config or free_demo(folder)), "--ready-file", str(ready), *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, text=True)
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "flysim up", log)
        assert process.poll() is None, log.read_text()
        yield Up(process, json.loads(ready.read_text()), log)
    finally:
        process.kill()  # No effect on a process that has exited.
        process.wait()
    check_output(log.read_text())


def free_demo(folder: Path) -> Path:
    """The demo's config on free ports, so that tests can run it in parallel, and with short waits on failures."""
    text = (
        (ROOT / "flysim.toml").read_text().replace("ams = 8080", "ams = 0").replace("dfw = 8081", "dfw = 0")
    )
    for key, place in (("fly_toml", "sample_app/fly.toml"), ("build", "sample_app")):
        text = text.replace(f'{key} = "{place}"', f'{key} = "{ROOT / place}"')
    path = folder / "flysim.toml"
    path.write_text(text + "\n[control]\nport = 0\n\n[proxy]\nreplay_error_seconds = 0.1\n")
    return path


def wait_for(condition: Any, what: str, log: Path | None = None) -> None:
    if not poll_blocking(lambda: condition() or None, timeout_seconds=DEADLINE_SECONDS):
        raise AssertionError(f"timed out waiting for {what}\n{log.read_text() if log else ''}")

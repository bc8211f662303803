"""`flysim run`: scenario files, with one line for each result and the full trace of each failure."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.compose_project import check_compose_backend, find_project
from simulator.cli.fleet import check_backend, check_writable, warning_lines, write_file
from simulator.cli.options import BackendOption, ComposeOption, QuietOption
from simulator.cli.signals import StopSignals
from simulator.errors import InputError, SimulatorError
from simulator.machines import DOCKER

STDOUT = Path("-")

if TYPE_CHECKING:
    from simulator.config import Config
    from simulator.report import Reporter
    from simulator.results import RunResult, ScenarioResult
    from simulator.scenario.runner import RunOptions
    from simulator.scenario.simulator_protocol import OpenSimulator


def run(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Scenario files or folders.")
    ] = None,
    keyword: Annotated[
        str | None,
        typer.Option(
            "-k", metavar="EXPR", help="Run only matching scenarios, for example 'cookie and not loop'."
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit XML report; - for stdout.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write a JSON report; - for stdout.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The random seed, instead of each scenario's own.")
    ] = None,
    reports: Annotated[
        list[str] | None,
        typer.Option(
            "--report", metavar="NAME=FILE", help="Write a report with an installed reporter. Repeatable."
        ),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime", help="Wait in real time when the proxy waits, instead of skipping the wait."
        ),
    ] = False,
    backend: BackendOption = "process",
    compose: ComposeOption = None,
    config: Annotated[str | None, typer.Option("-c", "--config", hidden=True)] = None,
    quiet: QuietOption = False,
) -> None:
    """Run scenario files and report the results.

    The exit code is 1 if an expectation failed.

    Example: flysim run scenarios/ -k cookie --junit report.xml
    """
    from simulator.scenario.runner import RunOptions

    check_backend(backend)
    if not paths:
        raise InputError(
            "no scenario given", expected="a file or a folder, for example: flysim run scenarios/"
        )
    if config is not None:
        raise InputError(
            f"flysim run does not take -c {config}",
            expected="a config: line in each scenario file, for example config: ../flysim.toml",
        )
    files = ReportFiles.of(junit, json_file, reports or [])
    if compose is not None:
        check_compose_backend(compose, backend)
    project = None if compose is None else asyncio.run(find_project(compose))
    options = RunOptions(
        keyword=keyword,
        seed=seed,
        realtime=realtime,
        backend=backend if project is None else DOCKER,
        adapt=project.adapt if project is not None else None,
    )
    open_simulator = project.open if project is not None else None
    raise typer.Exit(asyncio.run(_run(paths, options, files, open_simulator, quiet=quiet)))


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """The report files to write, each with its reporter; `-` is stdout."""

    files: tuple[tuple[Reporter, Path], ...]

    @classmethod
    def of(cls, junit: Path | None, json_file: Path | None, named: list[str]) -> ReportFiles:
        """Raises InputError, before anything runs, for an unknown reporter and for a file that cannot be written."""
        from simulator.report import find_reporter

        requested = [("junit", junit), ("json", json_file), *(_split_report(text) for text in named)]
        files = [(find_reporter(name), path) for name, path in requested if path is not None]
        if [path for _, path in files].count(STDOUT) > 1:
            raise InputError("several reports write to stdout", expected="- for at most one of them")
        for _, path in files:
            check_writable(None if path == STDOUT else path)
        return cls(tuple(files))

    @property
    def uses_stdout(self) -> bool:
        return any(path == STDOUT for _, path in self.files)

    def write(self, report: RunResult) -> None:
        """Raises the first SimulatorError, once every other report is written."""
        faults: list[SimulatorError] = []
        # stdout last: its reader may be gone.
        for reporter, path in sorted(self.files, key=lambda file: file[1] == STDOUT):
            try:
                text = reporter(report) + "\n"
                if path == STDOUT:
                    console.write_utf8(text)
                else:
                    write_file(path, text)
            except SimulatorError as fault:
                faults.append(fault)
        if faults:
            raise faults[0]


def _split_report(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise InputError(f"--report {text}", expected="NAME=FILE, as in --report junit=report.xml")
    return name, Path(path)


async def _run(
    paths: list[Path],
    options: RunOptions,
    reports: ReportFiles,
    open_simulator: OpenSimulator | None,
    *,
    quiet: bool,
) -> int:
    """The exit status: that of the results, or of the signal that stopped the run."""
    from simulator.results import RunResult
    from simulator.scenario.file.selection import select
    from simulator.scenario.loader import load_scenarios
    from simulator.scenario.runner import run_scenarios

    progress, started = ProgressReporter(quiet=quiet, on_stderr=reports.uses_stdout), time.monotonic()
    with StopSignals() as signals:
        planned = select(load_scenarios(paths), options.keyword)
        try:
            report = await run_scenarios(
                planned,
                options,
                on_result=progress.add,
                on_config=progress.print_warnings,
                open_simulator=open_simulator,
            )
        except asyncio.CancelledError:
            report = RunResult(tuple(progress.results), time.monotonic() - started)
    progress.finish(report, len(planned))
    reports.write(report)
    return signals.exit_status or report.exit_status


class ProgressReporter:
    """Prints the result of each scenario. If the reader closes the pipe, the run continues silently."""

    def __init__(self, *, quiet: bool, on_stderr: bool) -> None:
        from simulator.report import TextReport

        stream = console.err if on_stderr else console.out
        colour = stream.is_terminal and not stream.no_color
        self._text = TextReport(self._write, colour=colour, width=console.width())
        self._file = stream.file
        self._quiet = quiet
        self._has_written = False
        self._warned: set[str] = set()
        self.results: list[ScenarioResult] = []

    def add(self, result: ScenarioResult) -> None:
        self.results.append(result)
        if result.failure or not self._quiet:
            self._text.add(result)

    def print_warnings(self, config: Config) -> None:
        for line in () if self._quiet else warning_lines(config):
            if line not in self._warned:
                self._warned.add(line)
                console.print_warning(line)

    def finish(self, report: RunResult, planned: int) -> None:
        self._text.finish(report, planned=planned, is_first=not self._has_written)

    def _write(self, text: str) -> None:
        self._has_written = True
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            if self._file is console.out.file:
                console.discard_stdout()

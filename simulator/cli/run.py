"""`flysim run`: scenario files, one line each, and the whole story of those that fail."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import check_backend
from simulator.cli.options import BackendOption, QuietOption
from simulator.errors import InputError

if TYPE_CHECKING:
    from simulator.scenario.result import Report
    from simulator.scenario.runner import RunOptions


def run(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Scenario files, or folders of them.")],
    keyword: Annotated[
        str | None, typer.Option("-k", metavar="EXPR", help="Only those it fits, as 'cookie and not loop'.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JUnit XML report.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write a JSON report.")
    ] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Instead of each scenario's own.")] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Really wait for what the emulated proxy waits for.")
    ] = False,
    backend: BackendOption = "process",
    quiet: QuietOption = False,
) -> None:
    """Run scenarios and say what came of them; exit status 1 if an expectation failed.

    Example: flysim run scenarios/ -k cookie --junit report.xml
    """
    from simulator.scenario.report import json_report, junit_xml
    from simulator.scenario.runner import RunOptions

    check_backend(backend)
    for file in (junit, json_file):
        _check_writable(file)
    options = RunOptions(keyword=keyword, seed=seed, realtime=realtime, backend=backend)
    report = asyncio.run(_run(paths, options, quiet=quiet))
    if junit is not None:
        junit.write_text(junit_xml(report) + "\n")
    if json_file is not None:
        json_file.write_text(json_report(report) + "\n")
    raise typer.Exit(report.exit_status)


async def _run(paths: list[Path], options: RunOptions, *, quiet: bool) -> Report:
    from simulator.scenario.report import TextReport
    from simulator.scenario.runner import run_scenarios

    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    text = TextReport(_write, colour=console.out.is_terminal)
    try:
        report = await run_scenarios(
            paths,
            options,
            on_result=lambda result: None if quiet and not result.failure else text.take(result),
        )
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    text.finish(report)
    return report


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _check_writable(file: Path | None) -> None:
    """A report that cannot be written must not be found out about after the run."""
    if file is not None and not file.parent.is_dir():
        raise InputError(
            f"cannot write {file}: there is no folder {file.parent}", expected="a folder that exists"
        )

"""`flysim run`: scenario files, one line each, and the whole story of those that fail."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simulator.cli import console
from simulator.cli.fleet import check_backend, check_writable, write_file
from simulator.cli.options import BackendOption, QuietOption
from simulator.cli.signals import StopSignals

if TYPE_CHECKING:
    from simulator.scenario.result import Report, ScenarioResult
    from simulator.scenario.runner import RunOptions


def run(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Scenario files, or folders of them.")],
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
        check_writable(file)
    options = RunOptions(keyword=keyword, seed=seed, realtime=realtime, backend=backend)
    report = asyncio.run(_run(paths, options, quiet=quiet))
    if isinstance(report, int):
        raise typer.Exit(report)
    if junit is not None:
        write_file(junit, junit_xml(report) + "\n")
    if json_file is not None:
        write_file(json_file, json_report(report) + "\n")
    raise typer.Exit(report.exit_status)


async def _run(paths: list[Path], options: RunOptions, *, quiet: bool) -> Report | int:
    """The exit status instead of a report, if a signal ended it."""
    from simulator.scenario.report import TextReport
    from simulator.scenario.runner import run_scenarios

    text = TextReport(console.write, colour=console.out.is_terminal and not console.out.no_color)
    count = 0

    def take(result: ScenarioResult) -> None:
        nonlocal count
        count += 1
        if result.failure or not quiet:
            text.take(result)

    with StopSignals() as signals:
        try:
            report = await run_scenarios(paths, options, on_result=take)
        except asyncio.CancelledError:
            console.note(f"stopped after {count} scenario{'s' if count != 1 else ''}")
            return signals.exit_status
    text.finish(report)
    return report

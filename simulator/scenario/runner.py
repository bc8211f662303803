"""Runner of scenarios: groups them by fleet, runs their steps, and collects the results.

Scenarios on the same fleet share one simulator, which is reset between them. A failed step ends its scenario, not the
run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from simulator.config import Config
from simulator.config.duration import format_duration
from simulator.config.problems import Problems
from simulator.crash_report import CRASHED, describe_crash, format_traceback
from simulator.errors import InputError, SimulatorError
from simulator.events import ProxyLogged
from simulator.machines import backend_name
from simulator.results import Finding, LogTail, RunResult, ScenarioFailure, ScenarioResult, Verdict
from simulator.routing.trace import FAULT, Trace
from simulator.scenario.context import ScenarioContext, SharedState, StepFailed
from simulator.scenario.file.name_check import check_names
from simulator.scenario.file.schema import Scenario
from simulator.scenario.file.selection import select
from simulator.scenario.fleet import FleetKey, fleet_key, load_fleet
from simulator.scenario.loader import load_scenarios
from simulator.scenario.names import NameResolver
from simulator.scenario.simulator_protocol import OpenSimulator, RunningSimulator
from simulator.scenario.steps.base import Step, run_step

LOG_TAIL_LINES = 8

ResultCallback = Callable[[ScenarioResult], None]
ConfigCallback = Callable[[Config], None]


@dataclass(frozen=True, slots=True)
class RunOptions:
    keyword: str | None = None
    """The expression of `-k`."""
    seed: int | None = None
    """Overrides the seed of every scenario."""
    realtime: bool = False
    """Wait in real time where the emulated proxy waits, instead of skipping the wait."""
    backend: str = "process"
    adapt: Callable[[Config], Config] | None = None
    """Replaces the machines of a fleet with running ones; then only one fleet runs at a time. Raises InputError."""


def start_simulator(
    config: Config, *, realtime: bool, seed: int, backend: str = "process"
) -> AbstractAsyncContextManager[RunningSimulator]:
    """Create the real simulator on free ports, so that several runs and `flysim up` can run at the same time."""
    from simulator.runtime import Simulator

    return Simulator(config, realtime=realtime, seed=seed, free_ports=True, backend=backend)


async def run_scenarios(
    scenarios: Iterable[Scenario | Path | str],
    options: RunOptions | None = None,
    *,
    on_result: ResultCallback = lambda result: None,
    on_config: ConfigCallback = lambda config: None,
    open_simulator: OpenSimulator | None = None,
) -> RunResult:
    """Run scenarios, given as models or paths. Raises InputError if a file is invalid.

    `on_result` is called for each scenario when it ends, `on_config` for each fleet before the first one starts.

    >>> asyncio.run(run_scenarios(["scenarios/cookie.yaml"])).summary
    '1 passed, 0 failed'
    """
    options, started = options or RunOptions(), time.monotonic()
    groups = plan(select(_load(scenarios), options.keyword), options)
    for group in groups:
        on_config(group.config)
    results: list[ScenarioResult] = []

    def report(result: ScenarioResult) -> None:
        results.append(result)
        on_result(result)

    await _run_groups(
        groups, options, report, open_simulator or partial(start_simulator, backend=options.backend)
    )
    return RunResult(tuple(results), time.monotonic() - started)


def _load(scenarios: Iterable[Scenario | Path | str]) -> list[Scenario]:
    given = list(scenarios)
    loaded = [item for item in given if isinstance(item, Scenario)]
    paths = [item for item in given if not isinstance(item, Scenario)]
    return loaded + (load_scenarios(paths) if paths or not loaded else [])


@dataclass(frozen=True, slots=True)
class FleetGroup:
    """The scenarios that share a fleet, in order."""

    key: FleetKey
    config: Config
    scenarios: list[Scenario]
    incompatibility: InputError | None = None
    """Why the running machines do not match this fleet (`RunOptions.adapt`)."""


def plan(scenarios: Sequence[Scenario], options: RunOptions) -> list[FleetGroup]:
    """Group scenarios by fleet, in order of first use. Raises InputError with all errors in configs and names."""
    groups: dict[FleetKey, FleetGroup] = {}
    wrong: set[FleetKey] = set()
    problems = Problems()
    for scenario in scenarios:
        key = fleet_key(scenario, options.seed)
        if key not in groups and key not in wrong:
            try:
                groups[key] = _adapt(key, load_fleet(scenario, key), options)
            except InputError as error:
                wrong.add(key)
                for each in getattr(error, "errors", (error,)):
                    problems.take(each)
        if key in groups:
            check_names(scenario, groups[key].config, problems)
            groups[key].scenarios.append(scenario)
    problems.raise_if_any()
    incompatibilities = [
        group.incompatibility for group in groups.values() if group.incompatibility is not None
    ]
    if incompatibilities and len(incompatibilities) == len(groups):
        raise incompatibilities[0]
    return list(groups.values())


def _adapt(key: FleetKey, fleet: Config, options: RunOptions) -> FleetGroup:
    if options.adapt is None:
        return FleetGroup(key, fleet, [])
    try:
        return FleetGroup(key, options.adapt(fleet), [])
    except InputError as error:
        return FleetGroup(key, fleet, [], error)


async def _run_groups(
    groups: list[FleetGroup], options: RunOptions, report: ResultCallback, open_simulator: OpenSimulator
) -> None:
    """Run the groups one after the other. While a fleet stops, the next one starts."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for group in groups:
                is_done = asyncio.Event()
                tasks.create_task(_run_group(group, options, report, open_simulator, is_done))
                await is_done.wait()
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _run_group(
    group: FleetGroup,
    options: RunOptions,
    report: ResultCallback,
    open_simulator: OpenSimulator,
    is_done: asyncio.Event,
) -> None:
    """Set `is_done` when the next group may start: its machines may still be stopping."""
    remaining = _skip_unsupported(group, options, report)
    first, began = remaining[:1], time.monotonic()
    try:
        if remaining:
            async with open_simulator(
                group.config, realtime=options.realtime, seed=group.key.seed
            ) as simulator:
                await _run_remaining(simulator, remaining, report)
                if options.adapt is None:
                    is_done.set()
    except SimulatorError as error:
        if not remaining:
            raise
        failure = ScenarioFailure(None, "fleet start", str(error), exit_status=error.exit_status)
        for scenario in remaining:
            waited = time.monotonic() - began if scenario in first else 0.0
            report(ScenarioResult(scenario.name, scenario.path, Verdict.FAILED, waited, failure))
    finally:
        is_done.set()


def _skip_unsupported(group: FleetGroup, options: RunOptions, report: ResultCallback) -> list[Scenario]:
    """Return the scenarios that can run on this backend; report the others as skipped."""
    remaining = list(group.scenarios)
    for scenario in group.scenarios:
        reason = _find_reason_to_skip(scenario, group, options)
        if reason is not None:
            report(ScenarioResult(scenario.name, scenario.path, Verdict.SKIPPED, skipped_because=reason))
            remaining.remove(scenario)
    return remaining


def _find_reason_to_skip(scenario: Scenario, group: FleetGroup, options: RunOptions) -> str | None:
    if group.incompatibility is not None:
        return f"the running machines do not match {group.config.path}: {group.incompatibility.problem}"
    if scenario.backends is not None and backend_name(options.backend) not in scenario.backends:
        return scenario.reason or ""
    if options.adapt is not None and scenario.env:
        return "env: cannot be set in containers that are already running"
    if options.adapt is not None and scenario.fresh:
        return "fresh: needs newly started machines, but these are already running"
    return None


async def _run_remaining(
    simulator: RunningSimulator, remaining: list[Scenario], report: ResultCallback
) -> None:
    """Run scenarios and remove each from `remaining` when it ends. Raises SimulatorError if the fleet breaks."""
    is_used = False
    while remaining:
        if is_used:
            await simulator.reset()
        is_used = True
        result = await run_scenario(remaining[0], simulator)
        del remaining[0]
        report(result)


async def run_scenario(scenario: Scenario, simulator: RunningSimulator) -> ScenarioResult:
    """Run one scenario on a simulator that is started or reset."""
    started = time.monotonic()
    shared = SharedState(simulator, scenario.path.parent.resolve(), NameResolver(simulator))
    context, failure = ScenarioContext(shared), None
    began_at = simulator.clock.now()
    try:
        await _run_steps(scenario, context)
    except StepFailed as failed:
        failure = _describe_failure(failed, shared, began_at)
    finally:
        await shared.close()
    return ScenarioResult(
        scenario.name,
        scenario.path,
        Verdict.FAILED if failure else Verdict.PASSED,
        time.monotonic() - started,
        failure,
        steps=tuple(context.step_results),
    )


async def _run_steps(scenario: Scenario, context: ScenarioContext) -> None:
    step: Step = scenario.all_steps[0]
    try:
        async with asyncio.timeout(scenario.timeout):
            for step in scenario.all_steps:
                await run_step(step, context)
    except TimeoutError:
        failed = StepFailed(
            f"the scenario did not finish within its timeout of {format_duration(scenario.timeout)}",
            response=context.response,
        )
        failed.location, failed.title = step.location, step.title
        raise failed from None


def _describe_failure(failed: StepFailed, shared: SharedState, began_at: float) -> ScenarioFailure:
    response, problem = failed.response, failed.problem
    exit_status, crash = failed.exit_status, failed.__cause__
    trace = response.trace if response else None
    findings: tuple[Finding, ...] = ()
    try:
        if trace is not None and exit_status != CRASHED:  # The crash may have been in diagnosis.
            findings = tuple(shared.simulator.findings(trace))
    except Exception as error:
        problem = "\n".join(text for text in (problem, describe_crash(error)) if text)
        exit_status, crash = CRASHED, error
    return ScenarioFailure(
        failed.location,
        failed.title,
        problem,
        failed.mismatches,
        trace,
        withheld=response.withheld if response else (),
        findings=findings,
        logs=(*_fault_log_tail(shared, began_at), *_machine_log_tails(trace, shared, began_at)),
        traceback=format_traceback(crash) if exit_status == CRASHED and crash else "",
        exit_status=exit_status,
    )


def _fault_log_tail(shared: SharedState, began_at: float) -> tuple[LogTail, ...]:
    """The faults that were injected since the scenario began, and the deliveries they affected."""
    log = shared.simulator.journal.log()
    lines = [
        line.message
        for line in log
        if isinstance(line, ProxyLogged) and line.message.startswith(FAULT) and line.at >= began_at
    ]
    return (LogTail("faults", tuple(lines[-LOG_TAIL_LINES:])),) if lines else ()


def _machine_log_tails(trace: Trace | None, shared: SharedState, began_at: float) -> tuple[LogTail, ...]:
    """The logs of the machines in the trace; without a trace, those of all machines since the scenario began."""
    ids = dict.fromkeys(hop.machine_id for hop in trace.hops) if trace else {}
    since = 0.0 if ids else began_at
    ids = ids or dict.fromkeys(machine.id for machine in shared.simulator.fleet.machines)
    tails = []
    for machine_id in ids:
        lines = [line.line for line in shared.simulator.journal.log_of(machine_id) if line.at >= since]
        if lines:
            tails.append(LogTail(shared.names.name_of(machine_id), tuple(lines[-LOG_TAIL_LINES:])))
    return tuple(tails)

"""All steps except `request` and `websocket`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from simulator.events import ProxyLogged
from simulator.faults.fail_first import FailFirst
from simulator.faults.kill import Kill
from simulator.faults.latency import Latency
from simulator.faults.partition import Partition
from simulator.faults.reset import Reset
from simulator.faults.silent import Silent
from simulator.faults.slow_start import SlowStart
from simulator.machines.lifecycle import require_state
from simulator.results import LogTail
from simulator.routing.model import MachineState
from simulator.scenario import Scenario, run_scenario
from tests.scenario.conftest import RunStep
from tests.scenario.harness import AMS, CLONE_ID, DFW, FakeSimulator
from tests.scenario.verdict import assert_passed, mismatches_of, problem_of


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("stop", MachineState.STOPPED),
        ("start", MachineState.STARTED),
        ("suspend", MachineState.SUSPENDED),
        ("kill", MachineState.FAILED),
    ],
)
async def test_an_action_changes_the_state_of_a_machine(
    run_step: RunStep, simulator: FakeSimulator, action: str, state: MachineState
) -> None:
    assert_passed(await run_step(f"- machine: {{{action}: dfw-1}}"))
    assert simulator.find_machine("dfw-1").state is state


async def test_machines_are_given_by_name_id_or_app_and_name(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    assert_passed(
        await run_step("- machine: {cordon: [ams-1, 286533db064e58]}\n- machine: {uncordon: chat/ams-1}")
    )
    assert [machine.cordoned for machine in simulator.fleet.machines] == [False, True]


async def test_a_clone_has_the_name_from_the_scenario(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - machine: {clone: dfw-1, region: ams, as: newcomer}
            - request: GET /echo?instance={newcomer.id}&region={newcomer.region}
              expect: {served_by: newcomer, path: [ams-1, newcomer], json: {query: {region: ams}}}
        """)
    )


async def test_a_clone_without_a_name_has_the_name_from_the_fleet(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    assert_passed(await run_step("- machine: {clone: dfw-1}\n- machine: {stop: dfw-2}"))
    assert simulator.find_machine(CLONE_ID).state is MachineState.STOPPED


async def test_a_destroyed_machine_keeps_its_name(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - machine: {destroy: dfw-1}
            - request: GET /echo?instance={dfw-1.id}
              edge: ams
              expect: {error: PR04, path: [ams-1]}
        """)
    )


async def test_an_unknown_machine_is_an_error_that_lists_the_known_ones(run_step: RunStep) -> None:
    result = await run_step("- machine: {stop: dfw-7}")
    assert problem_of(result) == 'no machine "dfw-7"\n  expected: one of ams-1, dfw-1'
    assert result.failure is not None
    assert result.failure.exit_status == 2


async def test_a_request_is_retried_until_its_expectations_hold(run_step: RunStep) -> None:
    result = await run_step("""
        - parallel:
            - wait_until:
                request: GET /echo?instance=4d891ee9b43e08
                expect: {hops: 2}
              within: 5s
            - wait_until: {machine: {dfw-1: stopped}, within: 5s, every: 10ms}
            - [{shell: sleep 0.1}, {machine: {clone: dfw-1}}, {machine: {stop: dfw-1}}]
    """)
    assert_passed(result)


async def test_only_the_last_attempt_is_recorded(run_step: RunStep) -> None:
    result = await run_step(
        "- wait_until: {request: GET /echo, expect: {status: 500}}\n  within: 200ms\n  every: 10ms"
    )
    assert [step.title for step in result.steps] == ["GET /echo"]
    assert mismatches_of(result) == {"status": ("500", "200")}
    assert problem_of(result) == "the condition did not hold within 200ms"
    assert result.failure is not None
    assert str(result.failure.location).endswith(":5")


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("stop", "stopped"),
        ("start", "started"),
        ("start", "healthy"),
        ("cordon", "cordoned"),
        ("destroy", "gone"),
        ("destroy", "destroyed"),
    ],
)
async def test_wait_until_waits_for_a_state(run_step: RunStep, action: str, state: str) -> None:
    assert_passed(
        await run_step(f"- machine: {{{action}: dfw-1}}\n- wait_until: {{machine: {{dfw-1: {state}}}}}")
    )


async def test_a_state_that_is_not_reached_is_reported(run_step: RunStep) -> None:
    found = mismatches_of(
        await run_step("- wait_until: {machine: {dfw-1: stopped, ams-1: started}}\n  within: 50ms")
    )
    assert found == {"machine dfw-1": ("stopped", "started, healthy")}


async def test_wait_until_finds_log_lines_since_the_start_of_the_scenario(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - request: GET /log?machine=ams-1&line=early
            - wait_until: {logs: [{machine: ams-1, equals: early}]}
        """)
    )


async def test_the_last_attempt_is_at_the_deadline(run_step: RunStep) -> None:
    """The pause before it is shortened."""
    assert_passed(
        await run_step("""
            - parallel:
                - [{shell: sleep 0.3}, {machine: {stop: dfw-1}}]
                - wait_until: {machine: {dfw-1: stopped}}
                  within: 600ms
                  every: 550ms
        """)
    )


async def test_a_machine_in_the_wrong_state_fails_the_step_but_is_not_an_error_in_the_file(
    run_step: RunStep, simulator: FakeSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(machine_id: str) -> None:
        require_state("stopped", simulator.find_machine(machine_id))

    monkeypatch.setattr(simulator, "stop_machine", refuse)
    simulator.fleet = simulator.fleet.with_machine(replace(DFW, state=MachineState.STOPPED))
    result = await run_step("- machine: {stop: dfw-1}")
    assert problem_of(result).startswith("machine dfw-1 (286533db064e58) is stopped, so it cannot be stopped")
    assert result.failure is not None
    assert result.failure.exit_status == 1


async def test_an_error_in_the_file_is_not_retried(run_step: RunStep) -> None:
    result = await run_step("- wait_until: {request: GET /echo, edge: fra}\n  within: 60s")
    assert problem_of(result) == 'no edge "fra"\n  expected: one of ams, dfw'


async def test_steps_are_repeated_with_their_round_number(run_step: RunStep) -> None:
    result = await run_step("""
        - repeat: 3
          steps:
            - request: GET /echo?n={round}
              expect: {json: {query: {n: "{round}"}}}
    """)
    assert_passed(result)
    assert len(result.steps) == 3


async def test_branches_run_concurrently_with_their_own_client(run_step: RunStep) -> None:
    result = await run_step("""
        - parallel:
            - - client: {name: anna, cookies: {who: anna}}
              - shell: sleep 0.05
              - request: GET /echo
                expect: {json: {headers: {cookie: who=anna}}}
            - - client: {name: bert, cookies: {who: bert}}
              - request: GET /echo
                expect: {json: {headers: {cookie: who=bert}}}
    """)
    assert_passed(result)
    assert len(result.steps) == 5


async def test_a_branch_that_fails_does_not_end_the_others(run_step: RunStep) -> None:
    result = await run_step("""
        - parallel:
            - request: GET /echo
              expect: {status: 500}
            - - shell: sleep 0.05
              - request: GET /echo?second
    """)
    assert mismatches_of(result) == {"status": ("500", "200")}
    assert "GET /echo?second" in [step.title for step in result.steps]


async def test_a_command_finds_the_simulator_and_its_ready_file(run_step: RunStep) -> None:
    assert_passed(
        await run_step("""
            - shell: test "$FLYSIM_EDGE" = "$FLYSIM_EDGE_AMS" && cat "$FLYSIM_READY" && echo $FLYSIM_CONTROL ${EXTRA}
              env: {EXTRA: "{dfw-1.id}"}
              expect: {stdout: {contains: ["{edge.dfw}", "http://127.0.0.1:4280 286533db064e58"]}, stderr: ""}
            - shell: [sh, -c, "exit 3"]
              expect: {exit: 3}
        """)
    )


async def test_a_failed_command_shows_its_output(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- shell: echo broken >&2; exit 4"))
    assert found == {"exit": ("0", '4; output: "broken\\n"')}


async def test_a_command_slower_than_within_fails(run_step: RunStep) -> None:
    found = mismatches_of(await run_step("- shell: sleep 0.1\n  expect: {within: 50ms}"))
    assert found["within"][0] == "50ms"


async def test_a_missing_command_is_reported(run_step: RunStep) -> None:
    result = await run_step("- shell: [no-such-command-here]")
    assert problem_of(result) == "cannot run no-such-command-here: No such file or directory"


async def test_a_command_has_a_timeout(run_step: RunStep) -> None:
    result = await run_step("- shell: sleep 60 & sleep 60\n  timeout: 100ms")
    assert problem_of(result) == "the command did not exit within its timeout of 100ms"


async def test_the_clock_is_moved_forward(run_step: RunStep, simulator: FakeSimulator) -> None:
    before = simulator.clock.now()
    assert_passed(await run_step("- advance: 1h"))
    assert simulator.clock.now() - before >= 3600


async def test_an_unknown_placeholder_is_an_error_that_lists_the_known_ones(run_step: RunStep) -> None:
    result = await run_step("- request: GET /echo?x={dfw-1.idd}")
    assert problem_of(result).startswith('unknown placeholder {dfw-1.idd}; did you mean "dfw-1.id"?')
    assert "{ams-1.region}" in problem_of(result)
    assert AMS.name in problem_of(result)
    assert DFW.name in problem_of(result)


async def test_a_command_canceled_while_it_starts_is_killed_with_its_children(
    simulator: FakeSimulator, load: Callable[[str], Scenario]
) -> None:
    """asyncio waits until all writers close the pipes; a child of the shell keeps them open for ten minutes."""
    run = asyncio.create_task(run_scenario(load("- shell: sleep 600; true"), simulator))
    while not children_of_this_process():  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    run.cancel()
    done, _ = await asyncio.wait([run], timeout=5)
    assert done
    assert children_of_this_process() == []


def children_of_this_process() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


async def test_faults_are_injected_with_the_ids_of_their_machines(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    assert_passed(
        await run_step("""
            - machine: {clone: dfw-1, as: newcomer}
            - fault: {silent: newcomer}
            - fault: {slow_start: {machine: chat/dfw-1, by: 2s}}
            - fault: {fail_first: {machine: "{dfw-1.id}", times: 2, with: 503}}
            - fault: {latency: {between: [ams, dfw], of: 90ms}}
            - fault: {reset: {machine: ams-1, after: 10kB}}
            - partition: ams-1
            - partition: [ams, dfw]
        """)
    )
    assert simulator.faults == [
        Silent(machine=CLONE_ID),
        SlowStart(machine=DFW.id, by="2s"),
        FailFirst(machine=DFW.id, times=2, **{"with": 503}),
        Latency(between=["ams", "dfw"], of="90ms"),
        Reset(machine=AMS.id, after=10_000),
        Partition(machine=AMS.id),
        Partition(between=["ams", "dfw"]),
    ]


async def test_heal_takes_a_fault_a_kind_or_a_machine(run_step: RunStep, simulator: FakeSimulator) -> None:
    result = await run_step("""
        - heal: all
        - heal: [silent, dfw-1]
        - heal: {kill: dfw-1}
        - heal: {partition: [ams, dfw]}
    """)
    assert_passed(result)
    partition = Partition(between=["ams", "dfw"])
    assert simulator.healed == ["all", "silent", DFW.id, Kill(machine=DFW.id), partition]
    assert [step.title for step in result.steps] == [
        "heal all",
        "heal silent, dfw-1",
        "heal kill",
        "heal partition",
    ]


async def test_a_failed_scenario_reports_the_faults_since_it_began(
    run_step: RunStep, simulator: FakeSimulator
) -> None:
    for words in ("fault: dfw-1 is killed", "[PU02] no fault of ours"):
        simulator.bus.publish(ProxyLogged(simulator.clock.now(), "chat", DFW.id, "dfw", "warn", words))
    simulator.clock.advance(60)
    early = await run_step("- request: GET /echo\n  expect: {status: 500}")
    assert early.failure is not None
    assert "faults" not in [tail.machine for tail in early.failure.logs]
    simulator.clock.advance(60)
    simulator.bus.publish(
        ProxyLogged(simulator.clock.now() + 1, "", None, "", "warn", "fault: nothing gets through")
    )
    late = await run_step("- request: GET /echo\n  expect: {status: 500}")
    assert late.failure is not None
    assert late.failure.logs[0] == LogTail("faults", ("fault: nothing gets through",))

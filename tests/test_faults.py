"""Every fault on real processes: its effect, its undo, and that nothing of it remains after a reset or the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from simulator.config import Config
from simulator.errors import EnvironmentFault, InputError, WrongStateError
from simulator.events import ProxyLogged
from simulator.faults.base import Fault
from simulator.faults.registry import FAULTS, FaultChoice
from simulator.machines.processes.backend import ProcessBackend
from simulator.routing.model import MachineState
from simulator.runtime import Simulator
from tests.test_runtime import APP, config_of, nothing_left

EACH: dict[str, tuple[dict[str, object], str]] = {
    "stop": ({"stop": "dfw-1"}, "dfw-1 is stopped"),
    "kill": ({"kill": "dfw-1"}, "dfw-1 is killed"),
    "pause": ({"pause": "dfw-1"}, "dfw-1 is suspended"),
    "silent": ({"silent": "dfw-1"}, "dfw-1 accepts connections but never responds"),
    "reset": (
        {"reset": {"machine": "dfw-1", "after": "3B"}},
        "dfw-1 resets the connection after 3 bytes of a response",
    ),
    "latency": (
        {"latency": {"between": ["ams", "dfw"], "of": "1h"}},
        "3600s of latency in each direction between ams and dfw",
    ),
    "fail_first": (
        {"fail_first": {"machine": "dfw-1", "times": 2, "with": 503}},
        "the next 2 deliveries fail at dfw-1: 503",
    ),
    "partition": ({"partition": ["dfw", "ams"]}, "all traffic is dropped between dfw and ams"),
    "partition of an edge": (
        {"partition": {"edge": "ams", "region": "dfw"}},
        "all traffic is dropped between edge ams and the machines in dfw",
    ),
    "partition of a machine": (
        {"partition": "dfw-1"},
        "all traffic is dropped between all edges and dfw-1",
    ),
}


def parse_fault(mapping: dict[str, object]) -> Fault:
    return FaultChoice.model_validate(mapping).chosen


def own_config(folder: Path) -> Config:
    """Each machine has its own address, so no other program can respond there while the machine does not."""
    app = APP.replace('"127.0.0.1"', 'os.environ["HOST"]')
    return config_of(folder, app=app, env='HOST = "{host}"')


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with nothing_left(tmp_path), Simulator(own_config(tmp_path), realtime=False) as simulator:
        yield simulator


async def is_reachable(simulator: Simulator) -> bool:
    """Whether dfw-1 is started and sends a complete response through edge ams.

    The state is checked first, because the request would start a stopped machine.
    """
    if simulator.find_machine("dfw-1").state is not MachineState.STARTED:
        return False
    headers = {"fly-force-instance-id": simulator.find_machine("dfw-1").id}
    async with httpx.AsyncClient(trust_env=False, timeout=0.5) as client:
        try:
            response = await client.get(simulator.edges["ams"], headers=headers)
        except httpx.HTTPError:
            return False
    return response.status_code == 200 and len(response.text) == 14


def fault_lines(simulator: Simulator) -> list[str]:
    return [
        line.message
        for line in simulator.journal.log()
        if isinstance(line, ProxyLogged)
        and line.message.startswith("fault")
        and "triggered" not in line.message
    ]


@pytest.mark.parametrize("case", EACH.values(), ids=EACH)
async def test_each_fault_takes_effect_is_logged_and_is_healed(
    simulator: Simulator, case: tuple[dict[str, object], str]
) -> None:
    fault, description = parse_fault(case[0]), case[1]
    assert await is_reachable(simulator)
    await simulator.inject(fault)
    assert not await is_reachable(simulator)
    await simulator.heal(fault)
    assert await is_reachable(simulator)
    assert fault_lines(simulator) == [f"fault: {description}", f"fault healed: {description}"]
    assert not simulator.faults.active
    assert not simulator.network


@pytest.mark.parametrize("case", EACH.values(), ids=EACH)
async def test_a_reset_heals_each_fault(simulator: Simulator, case: tuple[dict[str, object], str]) -> None:
    await simulator.inject(parse_fault(case[0]))
    await simulator.reset()
    assert await is_reachable(simulator)
    assert not simulator.faults.active
    assert fault_lines(simulator) == []


async def test_nothing_of_any_fault_remains_after_the_end(tmp_path: Path) -> None:
    async with nothing_left(tmp_path), Simulator(own_config(tmp_path), realtime=False) as simulator:
        for name in ("silent", "reset", "latency", "fail_first", "partition", "partition of a machine"):
            await simulator.inject(parse_fault(EACH[name][0]))
        await is_reachable(simulator)


async def test_a_slow_start_delays_the_machine_by_the_given_time(simulator: Simulator) -> None:
    machine = simulator.find_machine("dfw-1")
    await simulator.inject(parse_fault({"slow_start": {"machine": "dfw-1", "by": "300ms"}}))
    await simulator.kill_machine(machine.id)
    before = simulator.clock.now()
    await simulator.start_machine(machine.id)
    assert simulator.clock.now() - before >= 0.3
    assert await is_reachable(simulator)
    assert fault_lines(simulator) == ["fault: dfw-1 starts 300ms late"]


async def test_faults_are_healed_singly_by_kind_by_machine_or_all_together(simulator: Simulator) -> None:
    mappings = (
        {"silent": "dfw-1"},
        {"reset": "dfw-1"},
        {"reset": "ams-1"},
        {"partition": ["ams", "dfw"]},
        {"latency": {"between": ["ams", "ams"], "of": "1s"}},
    )
    for each in mappings:
        await simulator.inject(parse_fault(each))

    def left() -> list[str]:
        return [active.fault.key for active in simulator.faults.active]

    await simulator.heal("dfw-1")
    assert left() == ["reset", "partition", "latency"]
    await simulator.heal("reset")
    assert left() == ["partition", "latency"]
    await simulator.heal(parse_fault({"partition": ["ams", "dfw"]}))
    assert left() == ["latency"]
    await simulator.heal()
    await simulator.heal()
    assert left() == []


class FailingBackend(ProcessBackend):
    """Its engine fails while it disconnects machines from their networks or connects them again."""

    failing = ""

    def __init__(self) -> None:
        super().__init__()
        self.isolated: set[str] = set()

    async def isolate(self, machine_id: str) -> bool:
        self.isolated.add(machine_id)
        self._do("disconnect")
        return True

    async def rejoin(self, machine_id: str) -> None:
        self._do("connect")
        self.isolated.discard(machine_id)

    def _do(self, action: str) -> None:
        if action == self.failing:
            raise EnvironmentFault(f"the engine cannot {action}")


@pytest.fixture
async def failing_backend(tmp_path: Path) -> AsyncIterator[tuple[Simulator, FailingBackend]]:
    backend = FailingBackend()
    async with Simulator(own_config(tmp_path), realtime=False, backend=backend) as simulator:
        yield simulator, backend


async def test_a_partition_that_fails_halfway_is_rolled_back(
    failing_backend: tuple[Simulator, FailingBackend],
) -> None:
    simulator, backend = failing_backend
    backend.failing = "disconnect"
    with pytest.raises(EnvironmentFault, match="cannot disconnect"):
        await simulator.inject(parse_fault({"partition": "dfw-1"}))
    assert not simulator.network
    assert not simulator.faults.active
    assert not backend.isolated
    assert await is_reachable(simulator)


@pytest.mark.parametrize("verb", ["heal", "reset"])
async def test_a_fault_that_fails_to_heal_does_not_block_others_and_can_be_healed_later(
    failing_backend: tuple[Simulator, FailingBackend], verb: str
) -> None:
    simulator, backend = failing_backend
    for each in (
        {"partition": "dfw-1"},
        {"kill": "ams-1"},
        {"latency": {"between": ["ams", "dfw"], "of": "1h"}},
    ):
        await simulator.inject(parse_fault(each))
    backend.failing = "connect"
    with pytest.raises(EnvironmentFault, match="cannot connect"):
        await getattr(simulator, verb)()
    assert [each.fault.key for each in simulator.faults.active] == ["partition"]
    assert not simulator.network
    description = "all traffic is dropped between all edges and dfw-1"
    assert f"fault not healed: {description}: the engine cannot connect" in fault_lines(simulator)
    backend.failing = ""
    await getattr(simulator, verb)()
    assert not simulator.faults.active
    assert not backend.isolated
    assert await is_reachable(simulator)


async def test_healing_an_unknown_fault_is_an_error(simulator: Simulator) -> None:
    with pytest.raises(
        WrongStateError,
        match='no active fault matches "silent"\n  expected: an active fault, but there is none',
    ):
        await simulator.heal("silent")
    await simulator.inject(parse_fault({"reset": {"machine": "dfw-1", "after": "1kB"}}))
    with pytest.raises(WrongStateError, match="reset: dfw-1 resets the connection after 1000 bytes"):
        await simulator.heal(parse_fault({"reset": "dfw-1"}))


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ({"silent": "lhr-1"}, "there is no machine 'lhr-1'"),
        ({"partition": ["ams", "lhr"]}, 'unknown region "lhr"\n  expected: one of ams, dfw'),
        ({"partition": {"edge": "lhr", "region": "ams"}}, 'unknown edge "lhr"'),
        ({"latency": {"between": ["dwf", "ams"], "of": "1s"}}, 'unknown region "dwf"; did you mean "dfw"?'),
    ],
)
async def test_a_fault_of_an_unknown_target_is_an_error_and_leaves_nothing(
    simulator: Simulator, mapping: dict[str, object], problem: str
) -> None:
    with pytest.raises(InputError) as caught:
        await simulator.inject(parse_fault(mapping))
    assert problem in str(caught.value)
    assert not simulator.faults.active
    assert fault_lines(simulator) == []


async def test_a_fault_of_a_restarted_or_destroyed_machine_is_healed_too(simulator: Simulator) -> None:
    machine = simulator.find_machine("dfw-1")
    await simulator.inject(parse_fault({"kill": "dfw-1"}))
    await simulator.start_machine(machine.id)
    await simulator.heal("kill")
    assert simulator.find_machine("dfw-1").state is MachineState.STARTED
    for kind in ("silent", "stop"):
        await simulator.inject(parse_fault({kind: "dfw-1"}))
    await simulator.destroy_machine(machine.id)
    await simulator.heal(parse_fault({"silent": "dfw-1"}))
    await simulator.heal("dfw-1")
    assert not simulator.faults.active


async def test_stock_mitmproxy_has_no_faults(tmp_path: Path) -> None:
    simulator = Simulator(config_of(tmp_path), make_proxy=lambda *_, **__: None)
    with pytest.raises(InputError, match="inside stock mitmproxy"):
        await simulator.inject(parse_fault({"silent": "dfw-1"}))


def test_every_fault_is_registered_under_its_key() -> None:
    kinds = {key: field.annotation.__args__[0].key for key, field in FaultChoice.model_fields.items()}  # type: ignore[union-attr]
    assert kinds == {key: key for key in FAULTS}
    assert {name.split()[0] for name in EACH} | {"slow_start"} == set(FAULTS)

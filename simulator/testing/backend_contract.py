"""Contract test suite for machine backends: checks everything that `simulator.machines.backend` promises."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest
import pytest_asyncio

from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.backend import Backend, Exit, Placement
from simulator.machines.fake import FakeApp
from simulator.testing.observation import (
    RecordingObserver,
    answers,
    becomes_reachable,
    eventually,
    machine_id,
    machine_spec,
)

APP = Path(__file__).with_name("contract_app.py")
ONE, TWO = machine_id(1), machine_id(2)
DNS = "127.0.0.1:5353"


@pytest.mark.asyncio
class BackendContract:
    """Tests for one backend. A subclass whose name begins with `Test` overrides `make_backend`.

    Needs pytest and pytest-asyncio. Machines run `contract_app.py` with the interpreter of the tests; a backend
    that needs another command or an image overrides `machine_command` or `machine_spec`.
    """

    def make_backend(self) -> Backend:
        """A new backend for one test."""
        raise NotImplementedError(f"{type(self).__name__} must override make_backend")

    def machine_command(self, app: FakeApp) -> tuple[str, ...]:
        """The command of a machine that behaves like `app`; placeholders are filled in as in flysim.toml."""
        return (sys.executable, "-I", "-S", str(APP), "{host}", "{port}", json.dumps(asdict(app)))

    def machine_spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec:
        """The spec of machine 1, 2, … with that command. Options are fields of `MachineSpec`."""
        return machine_spec(number, command, **options)

    @pytest_asyncio.fixture
    async def backend(self) -> AsyncIterator[Backend]:
        backend = self.make_backend()
        await backend.watch((), RecordingObserver())
        yield backend
        await backend.close()

    @pytest.fixture
    def recorder(self) -> RecordingObserver:
        return RecordingObserver()

    async def launch(
        self,
        backend: Backend,
        recorder: RecordingObserver,
        number: int = 1,
        app: FakeApp | None = None,
        **options: float,
    ) -> Placement:
        spec = self.machine_spec(number, self.machine_command(app or FakeApp()), **options)
        return await backend.launch(spec, recorder, dns_address=DNS)

    async def test_a_launched_machine_responds_at_its_placement(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        placement = await self.launch(backend, recorder)

        await becomes_reachable(placement)

        assert placement.address in (await backend.listening_addresses(ONE) or ())

    async def test_machines_have_different_addresses(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        one, two = await self.launch(backend, recorder, 1), await self.launch(backend, recorder, 2)

        assert one.address != two.address
        assert one.private_ip != two.private_ip

    async def test_log_lines_come_in_order_and_before_the_exit(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        lines = tuple(f"line {number}" for number in range(200))

        await self.launch(backend, recorder, app=FakeApp(lines=lines, exits_with=3))
        await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

        assert recorder.of(ONE) == [*lines, Exit(3)]

    async def test_an_exit_is_reported_only_once(self, backend: Backend, recorder: RecordingObserver) -> None:
        await self.launch(backend, recorder, app=FakeApp(exits_with=0))
        await eventually(lambda: bool(recorder.endings(ONE)), "the machine's exit")

        await backend.stop(ONE)
        await backend.kill(ONE)

        assert recorder.endings(ONE) == [Exit(0)]

    async def test_stop_sends_the_kill_signal_and_returns_once_the_machine_has_exited(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        """F-5.37: kill_signal first, SIGINT by default."""
        placement = await self.launch(backend, recorder, app=FakeApp(lines=("up",)))
        await becomes_reachable(placement)

        await backend.stop(ONE)

        assert [str(each) for each in recorder.endings(ONE)] == ["was killed by SIGINT"]
        assert not await answers(placement)

    async def test_stop_kills_a_machine_that_ignores_the_kill_signal_after_the_kill_timeout(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        """X-12, F-5.37: after kill_timeout the machine is killed."""
        app = FakeApp(ignores_kill_signal=True)
        await becomes_reachable(await self.launch(backend, recorder, app=app, kill_timeout_seconds=0.2))
        started = time.monotonic()

        await backend.stop(ONE)

        assert time.monotonic() - started >= 0.2
        assert [str(each) for each in recorder.endings(ONE)] == ["was killed by SIGKILL"]

    async def test_kill_ends_a_machine_at_once(self, backend: Backend, recorder: RecordingObserver) -> None:
        app = FakeApp(ignores_kill_signal=True)
        placement = await self.launch(backend, recorder, app=app, kill_timeout_seconds=60)
        await becomes_reachable(placement)

        await backend.kill(ONE)

        assert recorder.endings(ONE) == [Exit(-9)]
        assert not await answers(placement)

    async def test_a_suspended_machine_does_not_respond_until_it_is_resumed(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        placement = await self.launch(backend, recorder)
        await becomes_reachable(placement)

        await backend.suspend(ONE)
        answers_while_suspended = await answers(placement)
        await backend.resume(ONE)

        assert not answers_while_suspended
        await becomes_reachable(placement)
        assert recorder.endings(ONE) == []

    async def test_a_suspended_machine_can_be_stopped(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        await becomes_reachable(await self.launch(backend, recorder, kill_timeout_seconds=60))
        await backend.suspend(ONE)

        await backend.stop(ONE)

        assert len(recorder.endings(ONE)) == 1

    async def test_a_machine_has_the_same_placement_in_every_launch(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        first = await self.launch(backend, recorder)
        await becomes_reachable(first)
        await backend.stop(ONE)

        second = await self.launch(backend, recorder)

        assert second == first
        await becomes_reachable(second)

    async def test_a_released_machine_can_be_launched_again(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        await self.launch(backend, recorder)
        await backend.kill(ONE)
        await backend.release(ONE)

        await becomes_reachable(await self.launch(backend, recorder))

    async def test_actions_on_a_machine_that_was_never_launched_do_nothing(self, backend: Backend) -> None:
        for act in (
            backend.stop,
            backend.kill,
            backend.suspend,
            backend.resume,
            backend.release,
        ):
            await act(ONE)

        assert await backend.listening_addresses(ONE) == ()

    async def test_a_machine_that_listens_has_no_port_conflict(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        placement = await self.launch(backend, recorder)
        await becomes_reachable(placement)

        assert await backend.find_port_conflict(ONE, placement.port) is None

    async def test_close_kills_every_machine_and_reports_its_exit(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        placements = [await self.launch(backend, recorder, number) for number in (1, 2)]
        for placement in placements:
            await becomes_reachable(placement)

        await backend.close()

        assert recorder.endings(ONE) == recorder.endings(TWO) == [Exit(-9)]
        for placement in placements:
            assert not await answers(placement)

    async def test_a_command_that_does_not_exist_is_named(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        spec = self.machine_spec(1, ("no-such-program", "{port}"))

        with pytest.raises(InputError, match=r'ams-1 of app chat.*"no-such-program"'):
            await backend.launch(spec, recorder, dns_address=DNS)

        await backend.stop(ONE)
        assert recorder.reports == []

    async def test_an_isolated_machine_responds_again_once_it_has_rejoined(
        self, backend: Backend, recorder: RecordingObserver
    ) -> None:
        placement = await self.launch(backend, recorder)
        await becomes_reachable(placement)

        is_isolated = await backend.isolate(ONE)
        answers_while_isolated = await answers(placement)
        await backend.rejoin(ONE)

        assert answers_while_isolated is not is_isolated
        await becomes_reachable(placement)

    async def test_a_machine_that_does_not_run_is_neither_isolated_nor_rejoined(
        self, backend: Backend
    ) -> None:
        assert not await backend.isolate(ONE)
        await backend.rejoin(ONE)

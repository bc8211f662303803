"""One machine as a container: made, started, heard and ended, whether by us or by somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Exit, Observer, Placement
from simulator.machines.docker.container.early_exits import EarlyExits
from simulator.machines.docker.container.logs import ContainerLog
from simulator.machines.docker.container.pause import PauseState
from simulator.machines.docker.container.start_fault import start_fault
from simulator.machines.docker.engine import Engine, Refusal
from simulator.machines.docker.events import ContainerEvent
from simulator.machines.docker.network.attachments import NetworkAttachments

_LAST_WORDS_SECONDS = 0.15
"""How long the news of an end waits for the last lines of the log."""
_KILLED = 137
_INIT_SECONDS = 0.03
_REST_SECONDS = 10.0
_NEWS_SECONDS = 0.5
"""How long the news of an end may be under way, before the engine is asked."""

Locate = Callable[[Any], Placement]
"""From what the engine says of a container to where its machine listens."""


class MachineContainer:
    """A container that exists. `locate` tells where it is once it runs, if that is not known before."""

    def __init__(
        self,
        engine: Engine,
        container_id: str,
        spec: MachineSpec,
        placement: Placement,
        observer: Observer,
        locate: Locate | None = None,
    ) -> None:
        self.id = container_id
        self.spec = spec
        self.placement = placement
        self._locate = locate
        self._engine = engine
        self._observer = observer
        self._log = ContainerLog(engine, container_id, partial(observer.line_logged, spec.id))
        self._runs = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._is_starting = False
        self._early_end: int | None = None
        """Of a run that was over before the engine said that it had begun."""
        self._is_stopping = False
        self._confirming: asyncio.Task[None] | None = None
        self._in_order = asyncio.Lock()
        """Held while one thing that was heard is taken in: the next one waits its turn."""
        self._run_number = 0
        self._attachments = NetworkAttachments(engine, container_id)
        self._pause = PauseState(engine, container_id, spec.id, observer)
        self._early_exits = EarlyExits(engine, container_id, spec, observer)
        self._is_to_run = False
        """Of one that is not ours: whether it runs when nobody here has to do with it."""

    @property
    def runs(self) -> bool:
        return self._runs

    @property
    def is_ours(self) -> bool:
        """Whether flysim made it, and removes it."""
        return not self.spec.is_taken

    # What we do.

    async def start(self) -> None:
        """Returns when its program runs. Raises EnvironmentFault for what the engine refuses."""
        self._is_starting, self._early_end = True, None
        try:
            await self._log.open(is_start=True)
            self._begin()
            await self._engine.do(self._engine.api.start, self.id)
            if complaint := await self._log.find_complaint(_INIT_SECONDS):
                raise InputError(complaint)
            if self._locate is not None:
                self._find_place(await self.describe())
        except BaseException as error:  # Should it run nevertheless, the engine will tell.
            self._runs, self._early_end = False, None
            self._ended.set()
            if isinstance(error, Refusal | InputError):
                raise start_fault(self.spec, getattr(error, "explanation", str(error))) from error
            raise
        finally:
            self._is_starting = False
            if self._early_end is not None:
                self._confirming = asyncio.create_task(self._confirm_end(self._early_end))

    async def stop(self) -> None:
        """Its stop signal, then after its kill timeout the end."""
        if not self._runs:
            return
        if not self._is_stopping:
            self._is_stopping = True
            try:
                await self._signal(self.spec.kill_signal)
            except EnvironmentFault:
                self._is_stopping = False
                raise
            await self.resume()
        try:
            async with asyncio.timeout(self.spec.kill_timeout_seconds):
                await self._ended.wait()
        except TimeoutError:
            await self.kill()
        else:
            await self._come_to_rest()

    async def kill(self) -> None:
        """Again and again, if need be: a start that is under way makes the engine deaf to it."""
        if not self._runs:
            return
        while self._runs:
            self._is_stopping = True
            await self._signal("SIGKILL")
            with suppress(TimeoutError):
                async with asyncio.timeout(_NEWS_SECONDS):
                    await self._ended.wait()
        await self._come_to_rest()

    async def _come_to_rest(self) -> None:
        """An engine tells of an end before it holds the container for ended: a start would be none until then."""
        with suppress(EnvironmentFault):  # It is gone altogether.
            await self._engine.do(self._engine.api.wait, self.id, timeout=_REST_SECONDS)

    async def suspend(self) -> None:
        if self._runs:
            await self._pause.pause()

    async def resume(self) -> None:
        await self._pause.resume()

    async def isolate(self) -> bool:
        """Cut it off from its networks; False: it does not run, or was cut off by somebody else."""
        return self._runs and await self._attachments.disconnect(
            (await self.describe())["NetworkSettings"]["Networks"]
        )

    async def rejoin(self) -> None:
        """Raises EnvironmentFault for a network that does not take it back."""
        await self._attachments.reconnect()
        before = self.placement
        if self._runs:
            self._find_place(await self.describe())
        if self.placement != before:
            self._observer.machine_began(self.spec.id, self.placement)

    async def restore(self) -> None:
        """Leave it as it was found, as far as the engine lets us."""
        try:
            await self.rejoin()
        finally:
            if self._pause.is_ours:
                await self.resume()
            if self._is_to_run and self._is_stopping and not self._runs:
                await self.start()
            elif self._runs and not self._is_to_run:
                await self.stop()
            if self._pause.is_to_last:
                await self.suspend()

    async def remove(self) -> None:
        try:
            await self._engine.do(self._engine.api.remove_container, self.id, v=True, force=True)
        except Refusal as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _signal(self, name: str) -> None:
        """One that does not run any more is found to have ended."""
        for attempt in range(2):
            try:
                await self._engine.do(self._engine.api.kill, self.id, name)
                return
            except Refusal as error:
                if attempt and not error.is_out_of_date:
                    raise
            if not attempt:
                await self.resume()  # Some engines signal no paused container.
        await self.look()

    # What we hear.

    async def look(self) -> None:
        """What the engine says of it now, whatever has been told before."""
        async with self._in_order:
            run = self._run_number
            try:
                described = await self.describe()
            except Refusal as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                described = {"State": {"Running": False, "ExitCode": _KILLED}}
                self._early_exits.forget()
            if self._is_starting or run != self._run_number:
                return  # It is about another run.
            state = described["State"]
            if state.get("Restarting") and not self._runs and not self.is_ours:
                self._early_exits.begin()
            if not state["Running"] or state.get(
                "Restarting"
            ):  # Docker starts it anew in a while, and tells.
                await self._end(state["ExitCode"])
                return
            if not self._runs:
                self._find_place(described)
            if not state["Paused"] and not (self._runs and self._log.is_open):
                await self._log.open()  # One that is paused lets nobody in.
            if not self._runs:
                self._adopt()
            self._pause.take(state["Paused"])

    async def hear(self, event: ContainerEvent) -> None:
        """What the engine tells of it; one thing after the other."""
        if event.action == "die" and self._is_starting:  # Of a start that fails, too.
            self._early_end = event.exit_status
        elif event.action == "die":
            await self._conclude(event.exit_status)
        elif event.action == "destroy":
            await self._conclude(_KILLED)
        else:
            if event.action == "start" and not (self._runs or self._is_starting or self.is_ours):
                self._early_exits.begin()
            try:
                await self.look()
            except EnvironmentFault:  # It may run for long, and nobody knows.
                self._early_exits.forget()
                raise

    def _adopt(self) -> None:
        """It runs already."""
        self._begin()
        self._is_to_run = True
        self._observer.machine_began(self.spec.id, self.placement)

    async def describe(self) -> Any:
        return await self._engine.do(self._engine.api.inspect_container, self.id)

    def _find_place(self, described: Any) -> None:
        if self._locate is not None:
            self.placement = self._locate(described)

    def close(self) -> None:
        """Hear no more of it."""
        if self._confirming is not None:
            self._confirming.cancel()
        self._log.close()

    def _begin(self) -> None:
        self._runs, self._is_stopping = True, False
        self._pause.begin()
        self._run_number += 1
        self._ended.clear()
        self._early_exits.forget()

    async def _confirm_end(self, status: int) -> None:
        """It may have been the late news of an earlier run."""
        try:
            await self.look()
        except EnvironmentFault:
            await self._conclude(status)

    async def _conclude(self, status: int) -> None:
        async with self._in_order:
            await self._end(status)

    async def _end(self, status: int) -> None:
        """Its last lines first, then its end."""
        if not self._runs:
            await self._early_exits.end(status)
            return
        await self._log.await_end(_LAST_WORDS_SECONDS)
        self._runs = self._pause.is_ours = False
        self._ended.set()
        self._observer.machine_exited(self.spec.id, Exit.of_status(status))

"""One machine as a container: made, started, heard and ended, whether by us or by somebody else."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError
from simulator.machines.backend import Exit, Observer, Placement
from simulator.machines.docker.engine import Engine, Refusal
from simulator.machines.docker.events import ContainerEvent
from simulator.machines.docker.logs import LogStream

_LAST_WORDS_SECONDS = 0.15
"""How long the news of an end waits for the last lines of the log."""
_KILLED = 137
_SIGNALLED = 128
_INIT_SECONDS = 0.03
_NO_PROGRAM = re.compile(
    r'exec: "([^"]+)": (?:executable file not found|stat .*: no such file)|FATAL tini.* exec (\S+) failed: No such'
)


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
        self._logs: LogStream | None = None
        self._runs = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._is_starting = False
        self._init_complaint = ""
        self._early_end: int | None = None
        """Of a run that was over before the engine said that it had begun."""
        self._is_stopping = False
        self._is_suspended = False
        """By us: what the engine says of it is no news."""
        self._concluding: asyncio.Task[None] | None = None
        self._left_networks: dict[str, Any] = {}
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
        await self._listen()
        self._begin()
        self._is_starting, self._early_end, self._init_complaint = True, None, ""
        try:
            await self._engine.do(self._engine.api.start, self.id)
            await self._see_it_off()
            await self._find_place()
        except (Refusal, InputError) as error:
            self._runs, self._early_end = False, None
            self._ended.set()
            problem = str(getattr(error, "explanation", error) or error)
            raise _start_fault(self.spec, problem) from error
        finally:
            self._is_starting = False
            if self._early_end is not None:
                self._conclude(self._early_end)

    async def _see_it_off(self) -> None:
        """Docker's init starts whatever the program is, and complains of one that there is not at once."""
        assert self._logs is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(_INIT_SECONDS):
                await self._logs.ended.wait()
        if self._init_complaint:
            raise InputError(self._init_complaint)

    async def stop(self) -> None:
        """Its stop signal, then after its kill timeout the end."""
        if not self._runs:
            return
        if not self._is_stopping:
            self._is_stopping = True
            await self._signal(self.spec.kill_signal)
            await self.resume()
        try:
            async with asyncio.timeout(self.spec.kill_timeout_seconds):
                await self._ended.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        if self._runs:
            self._is_stopping = True
            await self._signal("SIGKILL")
            await self._ended.wait()

    async def suspend(self) -> None:
        if self._runs and not self._is_suspended:
            self._is_suspended = True
            with suppress(Refusal):  # it has ended, or is paused already
                await self._engine.do(self._engine.api.pause, self.id)

    async def resume(self) -> None:
        self._is_suspended = False
        with suppress(Refusal):  # it is not paused
            await self._engine.do(self._engine.api.unpause, self.id)

    async def isolate(self) -> bool:
        """Cut it off from its networks; False: it does not run, or was cut off by somebody else."""
        if self._runs and not self._left_networks:
            networks = (await self.describe())["NetworkSettings"]["Networks"]
            for name, endpoint in networks.items():
                await self._engine.do(self._engine.api.disconnect_container_from_network, self.id, name)
                self._left_networks[name] = endpoint
        return bool(self._left_networks)

    async def rejoin(self) -> None:
        """Its addresses are those that it was given; what Docker chose, Docker may choose anew."""
        while self._left_networks:
            name, endpoint = self._left_networks.popitem()
            wanted = endpoint.get("IPAMConfig") or {}
            with suppress(Refusal):  # it, or the network, was removed meanwhile
                await self._engine.do(
                    self._engine.api.connect_container_to_network,
                    self.id,
                    name,
                    ipv4_address=wanted.get("IPv4Address"),
                    ipv6_address=wanted.get("IPv6Address"),
                    aliases=endpoint.get("Aliases"),
                )
        before = self.placement
        if self._runs:
            await self._find_place()
        if self.placement != before:
            self._observer.machine_began(self.spec.id, self.placement)

    async def restore(self) -> None:
        """Leave it as it was found."""
        await self.rejoin()
        if self._is_suspended:
            await self.resume()
        if self._is_to_run and self._is_stopping and not self._runs:
            await self.start()
        elif self._runs and not self._is_to_run:
            await self.stop()

    async def remove(self) -> None:
        try:
            await self._engine.do(self._engine.api.remove_container, self.id, v=True, force=True)
        except Refusal as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _signal(self, name: str) -> None:
        number = signal.Signals[name]
        try:
            await self._engine.do(self._engine.api.kill, self.id, int(number))
        except Refusal:  # Some engines signal no paused container; any other refusal means that it has ended.
            await self.resume()
            with suppress(Refusal):
                await self._engine.do(self._engine.api.kill, self.id, int(number))

    # What we hear.

    async def adopt(self, *, is_paused: bool = False) -> None:
        """It runs already: listen to it from now on."""
        await self._listen()
        self._begin()
        self._is_to_run = True
        await self._find_place()
        self._observer.machine_began(self.spec.id, self.placement)
        if is_paused:
            self._observer.machine_froze(self.spec.id)

    async def hear(self, event: ContainerEvent) -> None:
        """What the engine tells of it."""
        if event.action == "die" and self._is_starting:  # Of a start that fails, too.
            self._early_end = event.exit_status
        elif event.action == "die":
            self._conclude(event.exit_status)
        elif event.action == "start" and not self._runs and not self._is_starting:
            await self.adopt()
        elif event.action in ("pause", "unpause") and self._runs:
            await self._hear_of_pause()
        elif event.action == "destroy":
            self._conclude(_KILLED)

    async def _hear_of_pause(self) -> None:
        """Events may be late: what counts is what holds now."""
        with suppress(Refusal):
            is_paused = (await self.describe())["State"]["Paused"]
            if is_paused and not self._is_suspended:
                self._observer.machine_froze(self.spec.id)
            elif not is_paused:
                self._is_suspended = False
                self._observer.machine_thawed(self.spec.id)

    async def describe(self) -> Any:
        return await self._engine.do(self._engine.api.inspect_container, self.id)

    async def _find_place(self) -> None:
        if self._locate is not None:
            self.placement = self._locate(await self.describe())

    async def is_over(self) -> None:
        await self._ended.wait()

    async def _listen(self) -> None:
        self._logs = LogStream(self._engine.api, self.id, self._emit)
        await self._engine.do(self._logs.attach)

    def _begin(self) -> None:
        self._runs, self._is_stopping, self._is_suspended = True, False, False
        self._ended.clear()

    def _emit(self, stream: str, line: str) -> None:
        if self._is_starting and _NO_PROGRAM.search(line):
            self._init_complaint = line
            return
        self._observer.line_logged(self.spec.id, stream, line)

    def _conclude(self, status: int) -> None:
        if self._runs and self._concluding is None:
            self._concluding = asyncio.create_task(self._end(status))

    async def _end(self, status: int) -> None:
        """Its last lines first, then its end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_SECONDS):
                if self._logs is not None:
                    await self._logs.ended.wait()
        self._runs, self._is_suspended, self._concluding = False, False, None
        self._ended.set()
        self._observer.machine_exited(self.spec.id, _exit_of(status))


def _exit_of(status: int) -> Exit:
    """An init passes on the end by a signal as a shell does, as 128 and its number."""
    number = status - _SIGNALLED
    return Exit(-number) if 0 < number < signal.NSIG else Exit(status)


def _start_fault(spec: MachineSpec, problem: str) -> InputError | EnvironmentFault:
    of_machine = f"machine {spec.name} of app {spec.app}"
    if "port is already allocated" in problem or "address already in use" in problem:
        return EnvironmentFault(
            f"{of_machine} publishes a port that is taken: {problem}",
            mend="end whatever has it (docker ps shows published ports), or let the engine choose: "
            '"127.0.0.1::8080" in a compose file',
        )
    if match := _NO_PROGRAM.search(problem):
        return InputError(
            f'{of_machine}: there is no command "{match[1] or match[2]}" in image {spec.image}',
            expected=f"a program of the image; look into it with: docker run --rm -it --entrypoint sh {spec.image}",
        )
    return EnvironmentFault(f"{of_machine} cannot be started: {problem}", mend="see what docker events says")

"""A stack: deployed by `docker stack deploy`, removed, if it is ours, by `docker stack rm`, whatever becomes of flysim.

Should flysim be killed, its caretaker removes the stack. A deployment under way holds the caretaker's pipe open, too:
it is waited for, so that nothing is deployed after the removal. A stack that is somebody else's has no caretaker: what
was added to it stays then.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress

from simulator.cancellation import shielded
from simulator.errors import EnvironmentFault
from simulator.machines.cleanup import stack_cleanup as stack_cleanup
from simulator.machines.cleanup.launcher import CleanupProcess
from simulator.machines.swarm import task_labels as label

DEFAULT_ENGINE = "unix:///var/run/docker.sock"


def make_name() -> str:
    """Of a stack that no other flysim has."""
    return f"flysim-{secrets.token_hex(4)}"


class Deployment:
    """One stack, by its name; `is_own`: it goes when flysim ends."""

    def __init__(self, name: str, *, is_own: bool) -> None:
        self.name = name
        self.is_own = is_own
        self.is_started = False
        self.owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._env = {"DOCKER_HOST": DEFAULT_ENGINE, **os.environ}
        """Not that of a context, of which the SDK is unaware."""
        self._running_command: asyncio.Task[tuple[int, str]] | None = None
        self._cleanup = CleanupProcess(stack_cleanup.__file__, name, env=self._env)

    @property
    def labels(self) -> dict[str, str]:
        """Of each service and network that we deploy."""
        return {label.RUN if self.is_own else label.ADDED: self.owner}

    @property
    def label_selector(self) -> str:
        """The label, with its value, of all that we have deployed and of nothing else."""
        return f"{label.STACK}={self.name}" if self.is_own else f"{label.ADDED}={self.owner}"

    async def deploy(self, stack_file: str, *, from_registry: bool) -> None:
        """Also more services of the same stack; those that are there already stay as they are.

        `from_registry`: nodes fetch the images by themselves. Raises EnvironmentFault with what `docker` said.
        """
        self.is_started = True
        if self.is_own:
            self._cleanup.start()
        login = ["--with-registry-auth"] if from_registry else []
        # Every node asks for the image itself, if it can; to ask beforehand takes seconds where no registry answers.
        words = ["stack", "deploy", "--compose-file", "-", "--resolve-image", "never", *login, self.name]
        status, stderr = await self._docker(*words, stdin=stack_file)
        if status:
            raise EnvironmentFault(
                f"docker stack deploy ended with status {status}: {_last_line(stderr)}",
                hint="flysim stack prints the file that it was given; try it by hand",
            )

    async def remove(self) -> None:
        """Begins it; the stack's tasks take as long as they may to stop."""
        if (
            self._running_command is not None
        ):  # A deployment that was given up on again and again still goes on.
            with suppress(EnvironmentFault):
                await shielded(self._running_command)
        status, stderr = await self._docker("stack", "rm", self.name)
        if status:
            raise EnvironmentFault(
                f"docker stack rm {self.name} ended with status {status}: {_last_line(stderr)}",
                hint=f"remove it by hand: docker stack rm {self.name}",
            )

    async def finish(self) -> None:
        """Nothing is left to take care of."""
        await self._cleanup.finish()

    async def _docker(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """Goes on to its end also when we are cancelled: half a deployment is not worth having."""
        self._running_command = asyncio.create_task(self._run_docker(words, stdin))
        return await shielded(self._running_command)

    async def _run_docker(self, words: Sequence[str], stdin: str) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                "docker",
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=self._cleanup.pipe,
                env=self._env,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise EnvironmentFault(
                "there is no command docker, which deploys the stack",
                hint="install the Docker CLI (not only the engine), or see flysim stack",
            ) from None
        _, stderr = await process.communicate(stdin.encode())
        return process.returncode or 0, stderr.decode(errors="replace")


def _last_line(stderr: str) -> str:
    """The last line is the error; before it stand hints."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"

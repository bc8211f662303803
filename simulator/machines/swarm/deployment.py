"""Deployment of a stack by `docker stack deploy`, and its removal, even if flysim is killed.

If flysim is killed, a cleanup process removes the stack. A running deployment inherits the cleanup process's pipe, so
the removal waits for it and nothing is deployed afterwards. An existing stack has no cleanup process: if flysim is
killed, its additions stay.
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
from simulator.retry import retry_on

DEFAULT_ENGINE = "unix:///var/run/docker.sock"
_REMOVE_SECONDS = 60.0
_REMOVE_INTERVAL_SECONDS = 0.2


class _RemoveFailed(EnvironmentFault):
    pass


def make_name() -> str:
    """A random name for flysim's own stack."""
    return f"flysim-{secrets.token_hex(4)}"


class Deployment:
    """One stack. `is_own`: flysim created it, and removes it."""

    def __init__(self, name: str, *, is_own: bool) -> None:
        self.name = name
        self.is_own = is_own
        self.is_started = False
        self.owner = f"process {os.getpid()} on {socket.gethostname()}"
        # The SDK ignores Docker contexts; the CLI has to use the same engine.
        self._env = {"DOCKER_HOST": DEFAULT_ENGINE, **os.environ}
        self._running_command: asyncio.Task[tuple[int, str]] | None = None
        self._cleanup = CleanupProcess(stack_cleanup.__file__, name, env=self._env)

    @property
    def labels(self) -> dict[str, str]:
        """Labels of each service and network that flysim deploys."""
        return {label.RUN if self.is_own else label.ADDED: self.owner}

    @property
    def label_selector(self) -> str:
        """A label filter for everything that flysim has deployed, and nothing else."""
        return f"{label.STACK}={self.name}" if self.is_own else f"{label.ADDED}={self.owner}"

    async def deploy(self, stack_file: str, *, from_registry: bool) -> None:
        """Deploy services. Other services of the stack stay as they are.

        `from_registry`: nodes pull the images themselves. Raises EnvironmentFault with the error of the docker CLI.
        """
        self.is_started = True
        if self.is_own:
            self._cleanup.start()
        login = ["--with-registry-auth"] if from_registry else []
        # Each node resolves the image itself; resolving it here takes seconds if no registry answers.
        command = ["stack", "deploy", "--compose-file", "-", "--resolve-image", "never", *login, self.name]
        exit_code, stderr = await self._docker(*command, stdin=stack_file)
        if exit_code:
            raise EnvironmentFault(
                f"docker stack deploy failed with exit code {exit_code}: {_last_line(stderr)}",
                hint="flysim stack prints the file; deploy it manually to see the full output",
            )

    async def remove(self) -> None:
        """Start the removal. Tasks take up to their kill timeout to stop.

        A network that a task still uses cannot be removed, so a failed command runs again. Raises EnvironmentFault
        with the error of the docker CLI if it fails for 60 s.
        """
        if self._running_command is not None:  # A canceled deployment continues to run.
            with suppress(EnvironmentFault):
                await shielded(self._running_command)
        retry = retry_on(
            _RemoveFailed, interval_seconds=_REMOVE_INTERVAL_SECONDS, timeout_seconds=_REMOVE_SECONDS
        )
        await retry(self._remove_once)

    async def _remove_once(self) -> None:
        exit_code, stderr = await self._docker("stack", "rm", self.name)
        if exit_code:
            raise _RemoveFailed(
                f"docker stack rm {self.name} failed with exit code {exit_code}: {_last_line(stderr)}",
                hint=f"remove it manually: docker stack rm {self.name}",
            )

    async def finish(self) -> None:
        """End the cleanup process."""
        await self._cleanup.finish()

    async def _docker(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit code and stderr. Completes even if it is canceled: a partial deployment could not be removed safely."""
        self._running_command = asyncio.create_task(self._run_docker(arguments, stdin))
        return await shielded(self._running_command)

    async def _run_docker(self, arguments: Sequence[str], stdin: str) -> tuple[int, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                "docker",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=self._cleanup.pipe,
                env=self._env,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise EnvironmentFault(
                "cannot deploy the stack: command docker not found",
                hint="install the Docker CLI (the engine alone is not enough), or use flysim stack",
            ) from None
        _, stderr = await process.communicate(stdin.encode())
        return process.returncode or 0, stderr.decode(errors="replace")


def _last_line(stderr: str) -> str:
    """The CLI prints warnings first and the error last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else "no error message"

"""`flysim up` as a child process that also takes commands on a socket: faults of the network, and counts.

The control API can start, stop, kill and suspend machines, but it has no network faults, and does not count the tasks
of asyncio. Everything else is the command itself. `python -m tests.soak.up FD OPTIONS…`; one JSON object per line:
`{"inject": {"silent": "ams-1"}}`, `{"heal": {"silent": "ams-1"}}`, `{"count": true}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from typing import Any, Self

import simulator.runtime
from simulator.cancellation import cancel_and_wait
from simulator.errors import SimulatorError


class CommandedSimulator(simulator.runtime.Simulator):
    """A simulator that executes the commands from the socket `fd` while it runs."""

    fd = -1

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=self.fd))
        self._commands = asyncio.create_task(self._serve(reader, writer), name="commands")
        return self

    async def __aexit__(self, *error: Any) -> None:
        await cancel_and_wait(self._commands)
        await super().__aexit__(*error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._execute(json.loads(line))).encode() + b"\n")
        finally:
            writer.close()

    async def _execute(self, command: dict[str, Any]) -> dict[str, Any]:
        from simulator.faults.registry import FaultChoice

        try:
            if "inject" in command:
                await self.inject(FaultChoice.model_validate(command["inject"]).chosen)
            elif "heal" in command:
                await self.heal(FaultChoice.model_validate(command["heal"]).chosen)
        except SimulatorError as error:
            return {"error": str(error)}
        # Without the task that counts.
        return {"tasks": len(asyncio.all_tasks()) - 1}


def main() -> None:
    from simulator.cli import main as run_command

    CommandedSimulator.fd = int(sys.argv[1])
    socket.socket(fileno=CommandedSimulator.fd).detach()  # Fails early if it is none.
    simulator.runtime.Simulator = CommandedSimulator  # type: ignore[misc]
    sys.argv = ["flysim", "up", *sys.argv[2:]]
    with suppress(KeyboardInterrupt):
        run_command()


if __name__ == "__main__":
    main()

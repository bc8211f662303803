"""Step `shell`: runs a command, with the addresses of the simulator in `FLYSIM_*` environment variables."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, WithJsonSchema

from simulator.config.base_model import Duration, Text, as_string
from simulator.config.duration import format_duration
from simulator.file_limit import restore_file_limit
from simulator.results import Mismatch
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.expectations.match import quote, text_mismatches
from simulator.scenario.expectations.schema import ShellExpectation
from simulator.scenario.simulator_protocol import RunningSimulator
from simulator.scenario.steps.base import Step


def _parse_command(value: Any) -> Any:
    return [as_string(item) for item in value] if isinstance(value, list) and value else as_string(value)


Command = Annotated[
    str | list[str],
    BeforeValidator(_parse_command),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


class ShellStep(Step):
    key: ClassVar[str] = "shell"
    inner_keys: ClassVar[tuple[str, ...]] = ("command",)

    shell: Command
    """A command line for `sh`, or a list: program and arguments. It runs in the folder of the scenario file."""
    env: dict[str, Text] | None = None
    timeout: Duration = 60.0
    expect: ShellExpectation | None = None

    @property
    def title(self) -> str:
        return f"shell {self.shell if isinstance(self.shell, str) else ' '.join(self.shell)}"

    async def run(self, context: ScenarioContext) -> None:
        command = ["/bin/sh", "-c", self.shell] if isinstance(self.shell, str) else self.shell
        env = os.environ | simulator_variables(context.simulator, _ready_file(context)) | (self.env or {})
        try:
            process = await _launch(command, context.shared.folder, env)
        except OSError as error:
            raise StepFailed(f"cannot run {command[0]}: {error.strerror or error}") from None
        started = time.monotonic()
        stdout, stderr = await self._wait_for_exit(process)
        elapsed = time.monotonic() - started
        await self._check(context, process.returncode or 0, stdout, stderr, elapsed)

    async def _wait_for_exit(self, process: Process) -> tuple[str, str]:
        try:
            async with asyncio.timeout(self.timeout):
                stdout, stderr = await process.communicate()
        except TimeoutError:
            raise StepFailed(
                f"the command did not exit within its timeout of {format_duration(self.timeout)}"
            ) from None
        finally:
            await _kill(process)
        return stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")

    async def _check(
        self, context: ScenarioContext, status: int, stdout: str, stderr: str, elapsed: float
    ) -> None:
        expect = self.expect or ShellExpectation()
        found = []
        if status != expect.exit:
            tail = f"; output: {quote((stderr or stdout)[-600:])}" if stderr or stdout else ""
            found.append(Mismatch("exit", str(expect.exit), f"{status}{tail}"))
        for what, match, text in (("stdout", expect.stdout, stdout), ("stderr", expect.stderr, stderr)):
            if match is not None:
                found += text_mismatches(what, match, text)
        if expect.within is not None and elapsed > expect.within:
            found.append(Mismatch("within", format_duration(expect.within), f"{elapsed:.3g}s"))
        found += await context.log_mismatches(expect.logs or ())
        if found:
            raise StepFailed(mismatches=tuple(found))


async def _launch(command: list[str], folder: Path, env: dict[str, str]) -> Process:
    """Start the command. Raises OSError.

    If canceled, kill the command and its children: asyncio alone would wait until they close the pipes.
    """
    launching = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(launching)
        restore_file_limit(process.pid)
        return process
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _kill(await launching)
        raise


async def _kill(process: Process) -> None:
    """Kill the process group: children of the command must not outlive the step."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _ready_file(context: ScenarioContext) -> Path:
    if context.shared.ready_file is None:
        handle, name = tempfile.mkstemp(prefix="flysim-ready-", suffix=".json")
        os.close(handle)
        context.shared.ready_file = Path(name)
    context.shared.ready_file.write_text(json.dumps(context.simulator.ready()), encoding="utf-8")
    return context.shared.ready_file


def simulator_variables(simulator: RunningSimulator, ready_file: Path) -> dict[str, str]:
    """Return the `FLYSIM_*` environment variables. `flysim exec` sets the same ones."""
    edges = {f"FLYSIM_EDGE_{region.upper()}": url for region, url in simulator.edges.items()}
    first = next(iter(simulator.edges.values()))
    return edges | {
        "FLYSIM_EDGE": first,
        "FLYSIM_CONTROL": simulator.control_url,
        "FLYSIM_READY": str(ready_file),
    }

"""What `up`, `demo`, `run` and `exec` share: the config, the simulator, and its end by signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.cli import console
from simulator.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    from simulator.config import Config
    from simulator.runtime import Simulator

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def read_config(path: Path | None, backend: str, *, quiet: bool = False) -> Config:
    """The config at `path`, else of this folder; says on stderr what of it will not be emulated."""
    from simulator.config import load_config

    check_backend(backend)
    config = load_config(path)
    if not quiet:
        for warning in config.warnings:
            console.warn(warning)
    return config


def check_backend(backend: str) -> None:
    if backend != "process":
        raise InputError(f"there is no backend {backend!r}", expected="process")


def demo_config() -> Path:
    """The demo's flysim.toml: in an installed package beside it, in a checkout at the top."""
    package = Path(__file__).parents[1]
    for folder in (package / "bundled", package.parent):
        if (folder / "flysim.toml").is_file() and (folder / "scenarios").is_dir():
            return folder / "flysim.toml"
    raise EnvironmentFault("the demo's files are missing from this installation", mend="install flysim again")


@asynccontextmanager
async def running(config: Config, **options: Any) -> AsyncIterator[Simulator]:
    """A simulator that is up. A stop signal while it starts ends it, and everything that it had started."""
    from simulator.runtime import Simulator

    with _signals_cancel():
        simulator = await Simulator(config, **options).__aenter__()
    try:
        yield simulator
    finally:
        await simulator.__aexit__(None, None, None)


@contextmanager
def _signals_cancel() -> Iterator[None]:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def until_stopped() -> signal.Signals:
    """Wait for a stop signal; a second one, while things are being stopped, has its usual effect."""
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[signal.Signals] = loop.create_future()

    def stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        return await stopped
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


def write_ready_file(path: Path, simulator: Simulator) -> None:
    """All at once: whoever waits for the file never reads half of it."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(json.dumps(simulator.ready(), indent=2) + "\n")
        part.replace(path)
    except OSError as error:
        raise InputError(f"cannot write the ready file {path}: {error.strerror}") from error


def environment(simulator: Simulator, ready: Path) -> dict[str, str]:
    """The caller's environment and the variables that tell a command where the simulator is."""
    edges = simulator.edges
    return {
        **os.environ,
        **{f"FLYSIM_EDGE_{region.upper()}": url for region, url in edges.items()},
        "FLYSIM_EDGE": next(iter(edges.values())),
        "FLYSIM_CONTROL": simulator.control_url,
        "FLYSIM_READY": str(ready),
    }

"""Process backend: process groups, grandchildren, logs, and cleanup after flysim is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from simulator.config.model import MachineSpec
from simulator.errors import InputError
from simulator.machines.backend import Exit
from simulator.machines.cleanup import process_cleanup as process_cleanup
from simulator.machines.processes.backend import ProcessBackend
from simulator.testing import RecordingObserver, eventually, machine_id, machine_spec

ONE, TWO = machine_id(1), machine_id(2)
PARENT = Path(__file__).parent / "parent.py"

SLEEPER = "import os, time; os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
"""A grandchild: prints its pid, then keeps running."""


def with_grandchild(program: str, *, leaves_the_group: bool = False) -> str:
    """The program of a machine that starts a `child` first."""
    popen = f"subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session={leaves_the_group})"
    return f"import os, subprocess, sys; child = {popen}; {program}"


@pytest.fixture
async def backend() -> AsyncIterator[ProcessBackend]:
    backend = ProcessBackend()
    yield backend
    await backend.close()


@pytest.fixture
def recorder() -> RecordingObserver:
    return RecordingObserver()


def python(program: str, number: int = 1) -> MachineSpec:
    return machine_spec(number, (sys.executable, "-I", "-u", "-c", program))


async def launch(backend: ProcessBackend, recorder: RecordingObserver, spec: MachineSpec) -> None:
    await backend.launch(spec, recorder, dns_address="127.0.0.1:5353")


async def exit_of(recorder: RecordingObserver, whose: str = ONE) -> Exit:
    await eventually(lambda: bool(recorder.endings(whose)), f"exit of {whose}")
    return recorder.endings(whose)[0]


async def printed_pid(recorder: RecordingObserver) -> int:
    await eventually(lambda: bool(recorder.of(ONE)), "a line with a pid")
    return int(str(recorder.of(ONE)[0]))


def is_running(pid: int) -> bool:
    """Whether a process runs; a zombie does not, it only waits for its parent."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("leaves_the_group", [False, True])
@pytest.mark.parametrize("action", ["stop", "kill"])
async def test_grandchildren_end_with_their_machine(
    backend: ProcessBackend, recorder: RecordingObserver, action: str, leaves_the_group: bool
) -> None:
    if leaves_the_group and sys.platform != "linux":
        pytest.skip("only /proc shows processes that left their group")
    await launch(
        backend, recorder, python(with_grandchild("child.wait()", leaves_the_group=leaves_the_group))
    )
    grandchild = await printed_pid(recorder)

    await getattr(backend, action)(ONE)

    assert not is_running(grandchild)


async def test_leftover_processes_end_with_the_main_process(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    await launch(backend, recorder, python(with_grandchild("print(child.pid); sys.exit(4)")))

    assert await exit_of(recorder) == Exit(4)
    await backend.stop(ONE)

    assert not is_running(await printed_pid(recorder))


async def test_a_restart_is_not_killed_as_a_leftover_of_the_previous_run(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    """Both runs have the same marker, by which leftovers are found and killed."""
    spec = python(with_grandchild("os._exit(0)", leaves_the_group=True))
    for number in range(1, 11):
        await launch(backend, recorder, spec)
        await eventually(lambda: len(recorder.endings(ONE)) == number, "its exit")  # noqa: B023 - awaited here
    assert {each.status for each in recorder.endings(ONE)} == {0}


async def test_a_closed_backend_leaves_no_processes_or_files(recorder: RecordingObserver) -> None:
    before = set(psutil.Process().children(recursive=True))
    open_files = psutil.Process().num_fds()
    backend = ProcessBackend()
    for number in (1, 2, 3):
        await launch(backend, recorder, python("import time; time.sleep(60)", number))

    await backend.close()

    assert set(psutil.Process().children(recursive=True)) <= before
    await eventually(lambda: psutil.Process().num_fds() <= open_files, "closed pipes and leases")


@asynccontextmanager
async def flysim_like_parent(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(PARENT), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield parent
    finally:
        if parent.returncode is None:
            parent.kill()
        await asyncio.wait_for(parent.communicate(), 5)


async def next_line(parent: asyncio.subprocess.Process) -> str:
    assert parent.stdout is not None
    return (await asyncio.wait_for(parent.stdout.readline(), 5)).decode().strip()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("leaves_the_group", [False, True])
async def test_no_process_outlives_a_flysim_that_was_killed(
    number: signal.Signals, leaves_the_group: bool
) -> None:
    if leaves_the_group and sys.platform != "linux":
        pytest.skip("only /proc shows processes that left their group")
    program = with_grandchild("print(os.getpid()); child.wait()", leaves_the_group=leaves_the_group)
    async with flysim_like_parent(program) as parent:
        pids = [int(await next_line(parent)) for _ in range(3)]
        assert all(is_running(pid) for pid in pids)  # machine, grandchild, cleanup process

        parent.send_signal(number)

    await eventually(lambda: not any(is_running(pid) for pid in pids), f"the end of {pids}")


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere, flysim must have sent the process group before it is killed"
)
@pytest.mark.parametrize("delay_ms", range(0, 40, 5))
async def test_no_process_outlives_a_flysim_that_was_killed_while_it_started_machines(delay_ms: int) -> None:
    """At any moment: the pipe to the cleanup process closes only once the last process that is being started runs."""
    program = f"import time; time.sleep(60.{delay_ms:03})"
    async with flysim_like_parent(program, "20") as parent:
        await next_line(parent)
        # Not a wait for a condition: the test varies the moment of the kill.
        await asyncio.sleep(delay_ms / 1000)

    await eventually(lambda: not running_with(program), "the end of all machines")


def running_with(argument: str) -> list[psutil.Process]:
    return [
        process for process in psutil.process_iter(["cmdline"]) if argument in (process.info["cmdline"] or [])
    ]


async def test_an_interrupted_flysim_stops_its_machines_gracefully() -> None:
    program = (
        "import os, signal, sys, time; signal.signal(signal.SIGINT, lambda *_: sys.exit('goodbye'));"
        "print(os.getpid()); print(os.getpid()); time.sleep(60)"
    )
    async with flysim_like_parent(program) as parent:
        pids = [int(await next_line(parent)) for _ in range(3)]

        parent.send_signal(signal.SIGINT)

        assert await next_line(parent) == "goodbye"
        assert await asyncio.wait_for(parent.wait(), 5) == 0
    assert not any(is_running(pid) for pid in pids)


async def test_a_flood_of_lines_is_logged_completely_and_in_order(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    await launch(backend, recorder, python("for number in range(20000): print(number)"))

    await exit_of(recorder)

    assert recorder.of(ONE)[:-1] == [str(number) for number in range(20000)]


async def test_a_very_long_line_is_logged_in_pieces(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    await launch(backend, recorder, python("print('x' * 1_000_000)"))

    await exit_of(recorder)

    pieces = [str(what) for what in recorder.of(ONE)[:-1]]
    assert "".join(pieces) == "x" * 1_000_000
    assert max(map(len, pieces)) == 65_536


async def test_a_last_line_without_a_line_end_is_logged_before_the_exit(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    await launch(backend, recorder, python("import sys; sys.stdout.write('Segmentation fault'); sys.exit(1)"))

    await exit_of(recorder)

    assert recorder.of(ONE) == ["Segmentation fault", Exit(1)]


async def test_the_last_line_is_logged_before_the_exit_although_a_grandchild_holds_the_pipe(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    program = with_grandchild("child.stdout.readline(); sys.stdout.write('Aborted'); sys.exit(1)")
    # The grandchild writes to its own pipe, and inherits the machine's output as stderr.
    spec = python(
        program.replace("start_new_session", "stdout=subprocess.PIPE, stderr=sys.stdout, start_new_session")
    )
    await launch(backend, recorder, spec)

    await exit_of(recorder)

    assert recorder.of(ONE) == ["Aborted", Exit(1)]


async def test_the_lines_of_two_machines_are_logged_in_the_order_in_which_they_were_written(
    backend: ProcessBackend, recorder: RecordingObserver, tmp_path: Path
) -> None:
    """The second machine waits for the first, as the machines of one exchange do."""
    os.mkfifo(tmp_path / "turn")
    await launch(
        backend, recorder, python(f"print('first'); open({str(tmp_path / 'turn')!r}, 'w').close()", 1)
    )
    await launch(backend, recorder, python(f"open({str(tmp_path / 'turn')!r}).close(); print('second')", 2))

    await exit_of(recorder, ONE)
    await exit_of(recorder, TWO)

    assert [what for _, what in recorder.reports if isinstance(what, str)] == ["first", "second"]


async def test_a_machine_reads_nothing_from_the_terminal(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    await launch(backend, recorder, python("import sys; print(repr(sys.stdin.read()))"))

    await exit_of(recorder)

    assert recorder.of(ONE)[0] == "''"


async def test_a_machine_starts_in_its_directory_and_finds_its_program_there(
    backend: ProcessBackend, recorder: RecordingObserver, tmp_path: Path
) -> None:
    program = tmp_path / "serve"
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)

    await launch(backend, recorder, replace(machine_spec(1, ("./serve",)), cwd=tmp_path))
    await exit_of(recorder)

    assert recorder.of(ONE)[0] == str(tmp_path)


async def test_a_directory_that_does_not_exist_is_named(
    backend: ProcessBackend, recorder: RecordingObserver, tmp_path: Path
) -> None:
    spec = replace(python("pass"), cwd=tmp_path / "gone")

    with pytest.raises(InputError, match=r"ams-1 of app chat cannot start in .*/gone"):
        await launch(backend, recorder, spec)


async def test_a_file_that_is_not_executable_is_named(
    backend: ProcessBackend, recorder: RecordingObserver, tmp_path: Path
) -> None:
    (tmp_path / "serve").write_text("")
    spec = replace(machine_spec(1, ("./serve",)), cwd=tmp_path)

    with pytest.raises(InputError, match=r'"./serve" is not executable'):
        await launch(backend, recorder, spec)


async def test_a_kill_signal_that_does_not_exist_is_named(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    with pytest.raises(InputError, match='kill_signal "SIGSTERN" is not a signal'):
        await launch(backend, recorder, replace(python("pass"), kill_signal="SIGSTERN"))


async def test_a_machine_without_a_command_is_refused(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    with pytest.raises(InputError, match="has no command to run"):
        await launch(backend, recorder, machine_spec(1, ()))


async def test_a_machine_gets_the_kill_signal_of_its_app(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    """F-5.37: the app configures kill_signal."""
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0));"
        "print('ready'); time.sleep(60)"
    )
    await launch(backend, recorder, replace(python(program), kill_signal="SIGTERM"))
    await eventually(lambda: bool(recorder.of(ONE)), "its first line")

    await backend.stop(ONE)

    assert recorder.endings(ONE) == [Exit(0)]


async def test_a_machine_that_is_stopped_twice_gets_one_signal(
    backend: ProcessBackend, recorder: RecordingObserver
) -> None:
    """Many apps exit without cleanup on a second signal."""
    program = (
        "import signal, sys, time; signal.signal(signal.SIGINT, lambda *_: print('asked'));"
        "print('ready'); time.sleep(60)"
    )
    await launch(backend, recorder, replace(python(program), kill_timeout_seconds=0.3))
    await eventually(lambda: bool(recorder.of(ONE)), "its first line")

    await asyncio.gather(backend.stop(ONE), backend.stop(ONE))

    assert recorder.of(ONE) == ["ready", "asked", Exit(-9)]


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc shows exiting processes")
def test_an_exiting_process_is_alive_until_it_is_a_zombie() -> None:
    """Until then it has its sockets, but no environment with a marker."""
    child = psutil.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        assert process_cleanup.any_alive(child.pid, set()) is True
        assert process_cleanup.any_alive(-1, {child.pid}) is True
        child.send_signal(signal.SIGSTOP)
        assert process_cleanup.any_alive(child.pid, set()) is True
    finally:
        child.kill()
    while is_running(child.pid):
        assert process_cleanup.any_alive(child.pid, set()) is not False or not is_running(child.pid)
    assert process_cleanup.any_alive(child.pid, {child.pid}) is False
    child.wait()

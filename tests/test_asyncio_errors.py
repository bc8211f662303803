"""The checks for errors that asyncio only logs can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.asyncio_errors import check_output

ROOT = Path(__file__).parents[1]

# What a test leaves behind -> what its failure says.
LEFT_BEHIND = {
    """
    loop = asyncio.new_event_loop()
    task = loop.create_task(wait())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    """: "Task was destroyed but it is pending!",
    """
    async def main():
        asyncio.create_task(fail())
        await asyncio.sleep(0)
    asyncio.run(main())
    """: "Task exception was never retrieved",
    """
    wait()
    """: "coroutine 'wait' was never awaited",
    """
    asyncio.new_event_loop()
    """: "unclosed event loop",
    """
    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
        server.close()
    asyncio.run(main())
    """: "unclosed transport",
    """
    async def main():
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
    asyncio.run(main())
    """: "Exception in callback",
}
PROGRAM = """\
import asyncio

async def wait():
    await asyncio.Event().wait()

async def fail():
    raise ValueError

def main():
"""


def _program(body: str) -> str:
    lines = dedent(body).strip().splitlines()
    return PROGRAM + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize("body", LEFT_BEHIND, ids=list(LEFT_BEHIND.values()))
def test_a_test_that_leaves_an_asyncio_error_behind_fails(tmp_path: Path, body: str) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(_program(body).replace("def main()", "def test_main()", 1))
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]

    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1, result.stdout
    assert LEFT_BEHIND[body] in result.stdout


@pytest.mark.parametrize("body", LEFT_BEHIND, ids=list(LEFT_BEHIND.values()))
def test_a_program_that_reports_an_asyncio_error_fails_the_check(body: str) -> None:
    program = [sys.executable, "-W", "default", "-c", f"{_program(body)}main()\n"]
    output = subprocess.run(program, capture_output=True, text=True, check=True).stderr

    with pytest.raises(AssertionError, match=LEFT_BEHIND[body]):
        check_output(output)


def test_other_output_passes_the_check() -> None:
    check_output("ams-1 is started\nams | Traceback of the app: 1 task was destroyed\n")

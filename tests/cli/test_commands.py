"""The table of commands: it agrees with the commands, and `flysim --help` imports none of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from simulator import __version__
from simulator.cli.app import COMMANDS, app
from simulator.cli.options import BACKEND_NAMES
from simulator.machines import BACKENDS

GROUP: Any = typer.main.get_command(app)

HEAVY = {
    *(
        "asyncio",
        "docker",
        "httpx",
        "mitmproxy",
        "psutil",
        "pydantic",
        "rich",
        "starlette",
        "tempfile",
        "uvicorn",
    ),
    *(
        "importlib.metadata",
        "simulator.config",
        "simulator.events",
        "simulator.machines",
        "simulator.routing",
    ),
    *(f"simulator.cli.{command.module}" for command in COMMANDS.values()),
}
"""Modules that neither `flysim --version` nor `flysim --help` may import."""
PROBE = """
import json, sys
before = set(sys.modules)
try:
    {code}
except SystemExit as end:
    assert not end.code
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def modules_imported_by(code: str, *arguments: str) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code), *arguments],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return set(json.loads(process.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("code", "arguments", "limit"),
    [
        ("import simulator", (), 2),
        ("from simulator.cli import main; main()", ("--version",), 30),
        ("from simulator.cli import main; main()", ("--help",), 150),
    ],
)
def test_start_up_imports_few_modules(code: str, arguments: tuple[str, ...], limit: int) -> None:
    modules = modules_imported_by(code, *arguments)
    assert not modules & HEAVY
    assert len(modules) <= limit, sorted(modules)


def test_the_version_needs_no_parser() -> None:
    assert "typer" not in modules_imported_by("from simulator.cli import main; main()", "--version")


@pytest.mark.parametrize("arguments", [["--version"], ["--version", "status"]])
def test_the_version_is_printed(arguments: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "simulator", *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert process.stdout == f"flysim {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_line_in_the_table_equals_the_help_of_the_command(name: str) -> None:
    command = GROUP.get_command(None, name)
    assert command.help.split("\n\n")[0].replace("\n", " ") == COMMANDS[name].help


def test_help_lists_every_command_in_one_line() -> None:
    lines = CliRunner().invoke(app, ["--help"]).stdout.splitlines()
    for name, command in COMMANDS.items():
        assert f"  {name:7}  {command.help}" in lines


def test_a_typo_in_a_command_name_gets_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["statsu"])
    assert result.exit_code == 2
    assert "Did you mean 'status'?" in result.output


def test_the_help_lists_the_names_of_all_backends() -> None:
    assert BACKEND_NAMES.removesuffix("[:NAME]") == "|".join(BACKENDS)

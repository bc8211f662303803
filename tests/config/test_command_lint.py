"""Command lint: shell syntax in commands without a shell, and unknown placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import load_config
from simulator.errors import InputError
from tests.config.writing import HEAD, load, problem_of

MACHINE = '[[apps.chat.machines]]\nregion = "ams"\n'


def app(*lines: str) -> str:
    """A file whose app has these lines, starting on line 5."""
    return HEAD + "\n".join(("[apps.chat]", *lines, MACHINE))


def warnings_of(folder: Path, *lines: str) -> list[str]:
    return [warning.replace(f"{folder}/", "") for warning in load(folder, app(*lines)).warnings]


@pytest.mark.parametrize("command", ['"PORT=3000 python app.py"', '["PORT=3000", "python", "app.py"]'])
def test_a_port_assignment_before_the_command_is_an_error_with_a_fix(tmp_path: Path, command: str) -> None:
    assert problem_of(tmp_path, app(f"command = {command}")) == (
        "flysim.toml:5:1: apps.chat.command starts with PORT=3000, which is shell syntax, and no shell runs it\n"
        "  expected: {port} in the command, because flysim sets PORT for each machine; "
        'or env = { PORT = "3000" } under [apps.chat], or command = ["sh", "-c", "…"]'
    )


def test_any_other_assignment_before_the_command_belongs_under_env(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, app('command = "DEBUG=1 python app.py"'))

    assert problem.endswith(
        'expected: env = { DEBUG = "1" } under [apps.chat], or command = ["sh", "-c", "…"]'
    )


@pytest.mark.parametrize("operator", ["&&", "||", "|", ";", ">", "2>&1"])
def test_a_shell_operator_in_a_command_is_a_warning(tmp_path: Path, operator: str) -> None:
    assert warnings_of(tmp_path, f'command = "npm build {operator} npm start"') == [
        "flysim.toml:5: apps.chat.command: the command runs without a shell, "
        f'so "{operator}" is passed as an argument; to use a shell: ["sh", "-c", "…"]'
    ]


def test_a_shell_variable_in_a_command_is_a_warning(tmp_path: Path) -> None:
    (warning,) = warnings_of(tmp_path, 'command = "serve --port $PORT"')

    assert 'so "$PORT" is not expanded' in warning
    assert "{port}" in warning


@pytest.mark.parametrize(
    "command",
    [
        '["sh", "-c", "npm build && exec serve --port $PORT"]',
        "\"bash -c 'serve > log'\"",
        '"env DEBUG=1 serve"',
        '"serve --price 5$ {port}"',
        """["python", "-c", "print(f'{name} in {place}')"]""",
        """["serve", '{"a": 1}', "{{name}}"]""",
    ],
)
def test_syntax_for_a_shell_or_for_the_program_itself_is_not_a_warning(tmp_path: Path, command: str) -> None:
    assert warnings_of(tmp_path, f"command = {command}") == []


def test_a_misspelled_placeholder_in_command_or_env_is_a_warning(tmp_path: Path) -> None:
    found = warnings_of(tmp_path, 'command = "serve --port={prot}"', 'env = { BIND = "{hots}", ID = "{id}" }')

    assert found[0] == ('flysim.toml:5: apps.chat.command: {prot} is not a placeholder; did you mean "port"?')
    assert found[1] == 'flysim.toml:6: apps.chat.env.BIND: {hots} is not a placeholder; did you mean "host"?'
    assert found[2].startswith(
        "flysim.toml:6: apps.chat.env.ID: {id} is not a placeholder; known placeholders: {host}"
    )


def test_port_under_env_is_a_warning_because_flysim_overrides_it(tmp_path: Path) -> None:
    """In flysim.toml only: PORT in a fly.toml is meant for Fly, where it takes effect."""
    fly = 'app = "chat"\n[env]\nPORT = "8080"\n[http_service]\ninternal_port = 8080\nauto_start_machines = false\n'

    (own,) = warnings_of(tmp_path, 'command = "serve"', 'env = { PORT = "3000" }')

    assert own.startswith(
        "flysim.toml:6: apps.chat.env.PORT: flysim overrides PORT with the machine's own port"
    )
    assert load(tmp_path, app('command = "serve"', 'fly_toml = "fly.toml"'), fly).warnings == ()


def test_the_command_of_a_process_group_is_checked_too(tmp_path: Path) -> None:
    fly = 'app = "chat"\n[processes]\napp = "serve && wait"\n[http_service]\nauto_start_machines = false\n'
    (warning,) = load(tmp_path, app('fly_toml = "fly.toml"'), fly).warnings

    assert 'fly.toml: [processes] app: the command runs without a shell, so "&&"' in warning


def test_a_quoted_number_is_an_error_that_shows_it_without_quotes(tmp_path: Path) -> None:
    text = app('command = "serve"').replace('region = "ams"', 'region = "ams"\ncount = "2"')

    assert problem_of(tmp_path, text).endswith("expected: an integer, without quotes: 2")


def test_a_missing_file_is_an_error_with_its_folder(tmp_path: Path) -> None:

    with pytest.raises(InputError, match=f"file not found in {tmp_path}"):
        load_config(tmp_path / "nope.toml")

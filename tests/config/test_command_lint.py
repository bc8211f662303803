"""What only a shell would understand, in a command that none reads; and placeholders that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import load_config
from simulator.errors import InputError
from tests.config.writing import HEAD, load, problem_of

MACHINE = '[[apps.chat.machines]]\nregion = "ams"\n'


def app(*lines: str) -> str:
    """A file whose app has these lines from line 5 on."""
    return HEAD + "\n".join(("[apps.chat]", *lines, MACHINE))


def warnings_of(folder: Path, *lines: str) -> list[str]:
    return [warning.replace(f"{folder}/", "") for warning in load(folder, app(*lines)).warnings]


@pytest.mark.parametrize("command", ['"PORT=3000 python app.py"', '["PORT=3000", "python", "app.py"]'])
def test_a_variable_before_the_command_is_refused_with_where_it_belongs(tmp_path: Path, command: str) -> None:
    assert problem_of(tmp_path, app(f"command = {command}")) == (
        "flysim.toml:5:1: apps.chat.command begins with PORT=3000, which only a shell takes for a variable\n"
        "  expected: no PORT: flysim gives each machine its own, {port} here; "
        'or env = { PORT = "3000" } under [apps.chat], or command = ["sh", "-c", "…"]'
    )


def test_another_variable_before_the_command_belongs_under_env(tmp_path: Path) -> None:
    problem = problem_of(tmp_path, app('command = "DEBUG=1 python app.py"'))

    assert problem.endswith(
        'expected: env = { DEBUG = "1" } under [apps.chat], or command = ["sh", "-c", "…"]'
    )


@pytest.mark.parametrize("operator", ["&&", "||", "|", ";", ">", "2>&1"])
def test_an_operator_of_the_shell_is_warned_of(tmp_path: Path, operator: str) -> None:
    assert warnings_of(tmp_path, f'command = "npm build {operator} npm start"') == [
        "flysim.toml:5: apps.chat.command: no shell reads the command, "
        f'so "{operator}" is one more argument; for a shell: ["sh", "-c", "…"]'
    ]


def test_a_variable_in_a_command_is_warned_of(tmp_path: Path) -> None:
    (warning,) = warnings_of(tmp_path, 'command = "serve --port $PORT"')

    assert 'so "$PORT" stays as it is' in warning
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
def test_what_a_shell_or_the_program_reads_itself_is_left_alone(tmp_path: Path, command: str) -> None:
    assert warnings_of(tmp_path, f"command = {command}") == []


def test_a_placeholder_with_a_slip_is_warned_of_in_command_and_env(tmp_path: Path) -> None:
    found = warnings_of(tmp_path, 'command = "serve --port={prot}"', 'env = { BIND = "{hots}", ID = "{id}" }')

    assert found[0] == ('flysim.toml:5: apps.chat.command: {prot} is not filled in; did you mean "port"?')
    assert found[1] == 'flysim.toml:6: apps.chat.env.BIND: {hots} is not filled in; did you mean "host"?'
    assert found[2].startswith("flysim.toml:6: apps.chat.env.ID: {id} is not filled in: it is none of {host}")


def test_port_under_env_is_warned_of_because_it_gives_way(tmp_path: Path) -> None:
    """In flysim.toml only: a fly.toml has it for Fly, where it counts."""
    fly = 'app = "chat"\n[env]\nPORT = "8080"\n[http_service]\ninternal_port = 8080\nauto_start_machines = false\n'

    (own,) = warnings_of(tmp_path, 'command = "serve"', 'env = { PORT = "3000" }')

    assert own.startswith("flysim.toml:6: apps.chat.env.PORT: PORT gives way to the port")
    assert load(tmp_path, app('command = "serve"', 'fly_toml = "fly.toml"'), fly).warnings == ()


def test_the_command_of_a_process_group_is_looked_at_too(tmp_path: Path) -> None:
    fly = 'app = "chat"\n[processes]\napp = "serve && wait"\n[http_service]\nauto_start_machines = false\n'
    (warning,) = load(tmp_path, app('fly_toml = "fly.toml"'), fly).warnings

    assert 'fly.toml: [processes] app: no shell reads the command, so "&&"' in warning


def test_a_number_in_quotes_is_told_to_stand_without(tmp_path: Path) -> None:
    text = app('command = "serve"').replace('region = "ams"', 'region = "ams"\ncount = "2"')

    assert problem_of(tmp_path, text).endswith("expected: a whole number, without quotes: 2")


def test_a_file_that_is_not_there_is_told_with_the_folder(tmp_path: Path) -> None:

    with pytest.raises(InputError, match=f"there is no such file in {tmp_path}"):
        load_config(tmp_path / "nope.toml")

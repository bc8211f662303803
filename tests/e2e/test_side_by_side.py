"""Two simulators side by side, finding the right one, and machine names and regions in the output."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.cli.control import default_control_url
from simulator.errors import InputError
from tests.e2e.command import Up, flysim, free_demo, start_up
from tests.e2e.test_error_paths import start, tiny_config


@pytest.fixture
def taken_ports() -> Iterator[tuple[int, int]]:
    """Two ports in use: one for an edge, one for the control API."""
    with socket.create_server(("127.0.0.1", 0)) as edge, socket.create_server(("127.0.0.1", 0)) as control:
        yield edge.getsockname()[1], control.getsockname()[1]


def config_on(ports: tuple[int, int], folder: Path) -> Path:
    config = tiny_config(folder, ams=ports[0])
    config.write_text(config.read_text().replace("[control]\nport = 0", f"[control]\nport = {ports[1]}"))
    return config


def test_exec_uses_free_ports_unless_fixed_ports_is_given(
    taken_ports: tuple[int, int], tmp_path: Path
) -> None:
    config = str(config_on(taken_ports, tmp_path))
    assert flysim("exec", "-c", config, "--", "true").returncode == 0
    kept = flysim("exec", "--fixed-ports", "-c", config, "--", "true")
    assert kept.returncode == 3
    assert f"127.0.0.1:{taken_ports[1]}: port {taken_ports[1]} is in use by" in kept.stderr


def test_up_uses_free_ports_with_the_option_and_otherwise_fails_before_it_starts_machines(
    taken_ports: tuple[int, int], tmp_path: Path
) -> None:
    config = config_on(taken_ports, tmp_path)
    refused = flysim("up", "-c", str(config))
    assert refused.returncode == 3
    assert "starting" not in refused.stderr
    assert (
        "set another `port` under [control] in flysim.toml (0 or --free-ports: any free port)"
        in refused.stderr
    )
    with start_up(tmp_path, config, "--free-ports") as up:
        assert up.flysim("status").returncode == 0


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("[control]\nport = 4292\n", 4292),
        ("[control]\nport = 0\n", 4280),
        ("[control]\nport = 'x'\n", 4280),
        ("control = 1\n", 4280),
        ("not toml", 4280),
        (None, 4280),
    ],
)
def test_commands_find_the_simulator_by_the_config_in_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, port: int
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "flysim.toml").write_text(text)
    assert default_control_url() == f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("names")
    with start_up(folder, free_demo(folder), "--names") as running:
        yield running


def test_machines_are_listed_with_their_region_and_the_page_is_printed(up: Up) -> None:
    for command in (["machine", "list"], ["status"]):
        assert "dfw-1      286533db064e58  dfw  streams" in up.flysim(*command).stdout
    up.wait_for_line(f"{up.ready['control']}/  (every exchange")


def test_log_lines_have_machine_names_with_the_option(up: Up) -> None:
    assert up.flysim("trace", "/?instance=286533db064e58").returncode == 0
    up.wait_for_line("dfw-1 [info] Sent 200")
    assert "dfw-1 [info] Sent 200" in up.flysim("logs", "--names").stdout
    assert "dfw-1 [info]" not in up.flysim("logs").stdout


def test_logs_of_a_region_are_the_lines_of_all_its_machines(up: Up) -> None:
    lines = up.flysim("logs", "dfw", "--names").stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"dfw-1", "dfw-2"}


def test_logs_of_a_machine_that_runs_outside_flysim_say_where_to_find_them(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as program:
        config = tiny_config(tmp_path)
        text = config.read_text().replace('command = ["{python}", "app.py"]\n', "")
        config.write_text(f'{text}url = "http://127.0.0.1:{program.getsockname()[1]}"\n')
        with start_up(tmp_path, config) as up:
            result = up.flysim("logs", "ams-1")
    assert (result.returncode, result.stdout) == (0, "")
    assert "no log lines yet hint: if ams-1 runs outside flysim, see its logs there" in " ".join(
        result.stderr.split()
    )


def test_a_slow_start_names_the_unhealthy_machine(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "app.py").write_text("import time; time.sleep(600)")
    process = start("up", "-c", str(config))
    assert process.stderr
    try:
        lines = [process.stderr.readline() for _ in range(2)]
    finally:
        process.terminate()
        process.wait()
    assert lines[0] == "starting 1 machine …\n"
    assert lines[1].startswith("ams-1 is not healthy yet: nothing listens on 127.0.0.1:")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "flysim run scenarios/"),
        (["run", "scenarios", "-c", "x.toml"], "a config: line in each scenario file"),
    ],
)
def test_wrong_arguments_of_run_are_an_error_with_the_right_usage(arguments: list[str], message: str) -> None:
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, InputError)
    assert message in str(error)


def test_a_machine_command_without_the_word_machine_gets_a_suggestion() -> None:
    result = CliRunner().invoke(app, ["stop", "dfw-1"])
    assert result.exit_code == 2
    assert "flysim machine stop" in result.output


def test_a_clone_in_an_unknown_region_is_an_error_that_lists_the_regions(up: Up) -> None:
    result = up.flysim("machine", "clone", "ams-1", "--region", "dwf")
    assert result.returncode == 2
    assert 'did you mean "dfw"' in result.stderr
    assert "ams, arn" in result.stderr

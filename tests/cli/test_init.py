"""`flysim init`: the written files are valid, and existing files are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from simulator.cli.app import app
from simulator.config import load_config
from simulator.errors import InputError
from simulator.scenario import load_scenario
from simulator.scenario.runner import RunOptions, plan

FLY = """\
app = "chat"
primary_region = "lhr"
[http_service]
internal_port = 3000
auto_start_machines = false
[[http_service.checks]]
path = "/up"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "My App"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def init(*options: str) -> Result:
    return CliRunner().invoke(app, ["init", *options])


def test_a_start_command_is_enough(folder: Path) -> None:
    assert init("--command", "python app.py").exit_code == 0

    config = load_config(folder)

    assert [machine.name for machine in config.machines] == ["ams-1", "dfw-1"]
    assert config.machines[0].command == ("python", "app.py")
    assert config.apps[0].app.name == "my-app"


@pytest.mark.parametrize("named", ["", '[build]\nimage = "other:1"\n'])
def test_the_image_is_built_from_the_dockerfile_unless_fly_toml_names_one(folder: Path, named: str) -> None:
    (folder / "Dockerfile").write_text("FROM python:3.13-slim\n")
    (folder / "fly.toml").write_text(f'app = "chat"\n{named}')
    assert init("--command", "python app.py").exit_code == 0

    (machine, _) = load_config(folder).machines

    expected = ("other:1", None) if named else ("chat:latest", folder)
    assert (machine.image, machine.image_folder and machine.image_folder.resolve()) == expected


def test_app_region_and_check_come_from_fly_toml_and_the_command_from_package_json(folder: Path) -> None:
    (folder / "fly.toml").write_text(FLY)
    (folder / "package.json").write_text(json.dumps({"scripts": {"start": "node server.js"}}))
    assert init().exit_code == 0

    config = load_config(folder)
    scenario = load_scenario(folder / "scenarios" / "first.yaml")

    assert [machine.name for machine in config.machines] == ["lhr-1", "dfw-1"]
    assert config.machines[0].command == ("npm", "start")
    assert config.machines[0].internal_port == 3000
    assert [step.title for step in scenario.steps] == ["GET /up", "GET /up"]
    assert plan([scenario], RunOptions())[0].config.machines


def test_a_command_in_processes_of_fly_toml_stays_there(folder: Path) -> None:
    (folder / "fly.toml").write_text(FLY + '[processes]\napp = "bin/server"\n')
    assert init().exit_code == 0

    assert "command" not in (folder / "flysim.toml").read_text()
    assert load_config(folder).machines[0].command == ("bin/server",)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (
            "gunicorn app:app --bind 127.0.0.1:$PORT",
            ("sh", "-c", "exec gunicorn app:app --bind 127.0.0.1:$PORT"),
        ),
        ("make assets && ./serve", ("sh", "-c", "make assets && ./serve")),
        ("./serve --quiet", ("./serve", "--quiet")),
    ],
)
def test_a_procfile_command_that_needs_a_shell_runs_in_one(
    folder: Path, line: str, command: tuple[str, ...]
) -> None:
    (folder / "Procfile").write_text(f"worker: ./work\nweb: {line}\n")
    assert init().exit_code == 0

    config = load_config(folder)

    assert config.machines[0].command == command
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("dockerfile", "command"),
    [
        ('CMD ["bundle", "exec", "puma"]', ("bundle", "exec", "puma")),
        (
            'FROM a AS b\nCMD ["first"]\nFROM c\ncmd [ "npm", \\\n  "run", "start" ]\n',
            ("npm", "run", "start"),
        ),
        (
            'CMD ["serve"]\nHEALTHCHECK \\\n# often\n  CMD curl localhost\nRUN <<EOF\nCMD no\nEOF\n',
            ("serve",),
        ),
        ("CMD echo it's me", ("sh", "-c", "exec echo it's me")),
        ("CMD node server.js --port $PORT", ("sh", "-c", "exec node server.js --port $PORT")),
    ],
)
def test_the_cmd_of_a_dockerfile_is_the_start_command(
    folder: Path, dockerfile: str, command: tuple[str, ...]
) -> None:
    (folder / "Dockerfile").write_text(f"FROM node\n{dockerfile}\n")
    (folder / "package.json").write_text("no JSON")
    assert init().exit_code == 0
    assert load_config(folder).machines[0].command == command


@pytest.mark.parametrize("dockerfile", ["FROM node", 'ENTRYPOINT ["/entry"]\nCMD ["serve"]', "CMD []"])
def test_a_dockerfile_without_a_usable_cmd_is_ignored(folder: Path, dockerfile: str) -> None:
    (folder / "Dockerfile").write_text(dockerfile)
    result = init()
    assert result.exit_code == 2 or isinstance(result.exception, InputError)


def test_the_scenario_uses_https_if_the_app_forces_it(folder: Path) -> None:
    (folder / "fly.toml").write_text(FLY.replace("[[", "force_https = true\n[["))
    assert init("--command", "python app.py").exit_code == 0
    first = load_scenario(folder / "scenarios" / "first.yaml").steps[0]
    assert first.title == "GET https://chat.fly.dev/up"


def test_existing_files_are_overwritten_only_with_force(folder: Path) -> None:
    (folder / "flysim.toml").write_text("mine")

    refused = init("--command", "serve")

    assert isinstance(refused.exception, InputError)
    assert "flysim.toml already exists" in str(refused.exception)
    assert (folder / "flysim.toml").read_text() == "mine"
    assert init("--command", "serve", "--force").exit_code == 0
    assert load_config(folder).machines


def test_without_a_start_command_nothing_is_written_and_the_error_names_the_option(folder: Path) -> None:
    refused = init()

    assert isinstance(refused.exception, InputError)
    assert "--command" in str(refused.exception)
    assert list(folder.iterdir()) == []


def test_an_invalid_fly_toml_is_reported_before_anything_is_written(folder: Path) -> None:
    (folder / "fly.toml").write_text("app = ")

    refused = init("--command", "serve")

    assert isinstance(refused.exception, InputError)
    assert "fly.toml:1" in str(refused.exception)
    assert not (folder / "flysim.toml").exists()

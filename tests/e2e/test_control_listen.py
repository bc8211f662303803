"""`flysim up --control-listen`: commands that use a control API which requires a token."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.e2e.command import Up, flysim, start_up
from tests.e2e.test_error_paths import tiny_config

WRONG = "a-token-of-another-simulator"


@dataclass
class Opened:
    """A running `flysim up --control-listen any`. 127.0.0.2 stands for its address in a network."""

    up: Up
    token: str
    url: str
    ready_file: Path


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    folder = tmp_path_factory.mktemp("opened")
    with start_up(folder, tiny_config(folder), "--control-listen", "any") as up:
        url = f"http://127.0.0.2:{urlsplit(up.ready['control']).port}"
        yield Opened(up, up.ready["control_token"], url, folder / "ready.json")


COMMANDS = [
    ("status",),
    ("status", "--check"),
    ("machine", "list"),
    ("machine", "stop", "ams-1"),
    ("machine", "start", "ams-1"),
    ("logs", "ams-1"),
    ("trace", "/"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_uses_the_token_of_the_environment(opened: Opened, command: tuple[str, ...]) -> None:
    result = flysim(*command, env={"FLYSIM_CONTROL": opened.url, "FLYSIM_CONTROL_TOKEN": opened.token})
    assert result.returncode == 0, result.stderr


def test_a_command_takes_the_token_from_the_link_of_the_page(opened: Opened) -> None:
    link = f"{opened.url}/?token={opened.token}"
    assert flysim("status", "--control", link).returncode == 0
    assert flysim("logs", env={"FLYSIM_CONTROL": link, "FLYSIM_CONTROL_TOKEN": WRONG}).returncode == 0


def test_a_command_takes_the_token_from_the_ready_file_of_that_simulator_only(
    opened: Opened, tmp_path: Path
) -> None:
    """As if the ready file were that of a simulator in a container, at its published port."""
    ready = tmp_path / "ready.json"
    for control, status in ((opened.url, 0), (opened.up.ready["control"], 3)):
        ready.write_text(json.dumps(opened.up.ready | {"control": control}))
        assert (
            flysim("status", "--control", opened.url, env={"FLYSIM_READY": str(ready)}).returncode == status
        )


@pytest.mark.parametrize(
    ("token", "status", "problem"),
    [
        ("", 3, "requires a token"),
        (WRONG, 3, "does not accept this token"),
        ("short", 2, "FLYSIM_CONTROL_TOKEN is not a token of the control API"),
        ("a token with spaces and\na line", 2, "FLYSIM_CONTROL_TOKEN is not a token of the control API"),
    ],
)
def test_a_missing_or_wrong_token_is_an_error_with_a_hint(
    opened: Opened, token: str, status: int, problem: str
) -> None:
    for command in (["status"], ["logs", "--follow"]):
        result = flysim(*command, "--control", opened.url, env={"FLYSIM_CONTROL_TOKEN": token})
        assert result.returncode == status
        assert problem in result.stderr
        assert ("hint: " if status == 3 else "expected: ") in result.stderr
        assert "Traceback" not in result.stderr
        assert not token or token not in result.stderr


def test_commands_on_the_same_computer_need_no_token(opened: Opened) -> None:
    assert opened.up.flysim("status").returncode == 0


def test_the_link_and_the_token_are_printed(opened: Opened) -> None:
    opened.up.wait_for_line(f"{opened.up.ready['control']}/?token={opened.token}  (every exchange")
    opened.up.wait_for_line(f"token         {opened.token}")
    opened.up.wait_for_line(f"--control '{opened.up.ready['control']}/?token={opened.token}' http://")


def test_only_the_owner_can_read_a_ready_file_with_a_token(opened: Opened) -> None:
    assert stat.S_IMODE(opened.ready_file.stat().st_mode) == 0o600
    ready = httpx.get(f"{opened.up.ready['control']}/_flysim/ready", trust_env=False).json()
    assert "control_token" not in ready
    assert opened.up.ready == ready | {"control_token": opened.token}


def test_the_token_of_the_environment_is_used_and_the_machines_do_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYSIM_CONTROL_TOKEN", "0123456789abcdef")
    config = tiny_config(tmp_path)
    app = tmp_path / "app.py"
    app.write_text(
        "import os\nprint('token:', os.environ.get('FLYSIM_CONTROL_TOKEN'), flush=True)\n" + app.read_text()
    )
    with start_up(tmp_path, config, "--control-listen", "127.0.0.2") as up:
        assert up.ready["control_token"] == "0123456789abcdef"
        up.wait_for_line("token: None")


def test_without_the_option_there_is_no_token(tmp_path: Path) -> None:
    with start_up(tmp_path, tiny_config(tmp_path), "--listen", "any") as up:
        assert "control_token" not in up.ready
        up.wait_for_line(f"{up.ready['control']}/  (every exchange")
        port = urlsplit(up.ready["control"]).port
        with pytest.raises(httpx.ConnectError):
            httpx.get(
                f"http://127.0.0.2:{port}/_flysim/status", headers={"Host": "127.0.0.1"}, trust_env=False
            )

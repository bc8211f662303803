"""Wrong input, closed pipes and signals: the right exit status and never a traceback."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import httpx
import pytest
from typer.testing import CliRunner

from simulator.cli.app import app
from simulator.errors import SimulatorError
from tests.e2e.command import DEADLINE_SECONDS, FLYSIM, ROOT, Up, flysim, start_up, wait_for

APP = """
import http.server, os, pathlib, signal, sys
if pathlib.Path("dies").exists():
    sys.exit("no database here")
signal.signal(signal.SIGINT, signal.SIG_IGN if pathlib.Path("stubborn").exists() else signal.SIG_DFL)

class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/hang"):
            self.connection.recv(1)  # Until the client disconnects.
            return
        self.send_response(302 if self.path == "/gone" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"""
SCENARIO = """
version: 1
name: It responds
config: flysim.toml
steps:
  - request: GET /
    expect: {status: 200}
"""


def tiny_config(folder: Path, *, ams: int = 0) -> Path:
    """One machine with a tiny app. The file `dies` makes it exit at start, `stubborn` makes it ignore Ctrl-C."""
    (folder / "app.py").write_text(APP)
    (folder / "fly.toml").write_text(
        'app = "tiny"\nkill_timeout = 60\n[http_service]\ninternal_port = 8080\n'
    )
    (folder / "first.yaml").write_text(SCENARIO)
    path = folder / "flysim.toml"
    path.write_text(
        f"version = 1\n[edges]\nams = {ams}\n[control]\nport = 0\n"
        '[apps.tiny]\nfly_toml = "fly.toml"\ncommand = ["{python}", "app.py"]\n'
        '[[apps.tiny.machines]]\nregion = "ams"\n'
    )
    return path


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("tiny")
    with start_up(folder, tiny_config(folder)) as running:
        yield running


def start(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*FLYSIM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def error_of(*arguments: str) -> SimulatorError:
    """The error that ends a command, before `main` prints it. The command runs inside the test process."""
    error = CliRunner().invoke(app, arguments).exception
    assert isinstance(error, SimulatorError)
    return error


def output_of(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout
    return process.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["foo"], 2, "'foo' is not a URL"),
        (
            ["127.0.0.1:9/x"],
            2,
            "no edge of the running simulator is at 127.0.0.1:9\n  expected: one of http://",
        ),
        (["http://[::1/"], 2, "is not a URL"),
        (["ftp://127.0.0.1/"], 2, "is not a URL"),
        (["/", "-X", "NO WAY"], 2, "cannot send the request"),
        (["/", "-H", "nothing"], 2, "-H 'nothing' is not a header"),
        (["/", "-H", "X-Ä: ö"], 2, "cannot send the request"),
        (["/", "-b", "nothing"], 2, "-b 'nothing' is not a cookie"),
        (["/", "--edge", "lhr"], 2, "there is no edge 'lhr'\n  expected: one of ams"),
        (["/", "--ws", "-d", "x"], 2, "--ws without -X and -d"),
        (["ws://localhost:9/"], 2, "no edge of the running simulator is at localhost:9"),
    ],
)
def test_trace_reports_wrong_arguments(up: Up, arguments: list[str], status: int, message: str) -> None:
    error = error_of("trace", *arguments, "--control", up.ready["control"])
    assert message in str(error)
    assert error.exit_status == status


def test_trace_of_a_url_that_is_not_an_edge_is_an_error(up: Up) -> None:
    error = error_of("trace", up.ready["control"], "--control", up.ready["control"])
    assert "no edge of the running simulator is at" in str(error)
    assert error.exit_status == 2


def test_trace_of_the_apps_production_url_goes_to_an_edge(up: Up) -> None:
    for arguments in (
        ["https://tiny.fly.dev/x?y=1", "-X", "DELETE"],
        ["wss://tiny.fly.dev/x"],
        ["tiny.fly.dev/x"],
    ):
        result = up.flysim("trace", *arguments, "--json")
        assert result.returncode == 0, result.stderr
        trace = json.loads(result.stdout)
        assert (trace["host"], trace["edge"], trace["app"]) == ("tiny.fly.dev", "ams", "tiny")
        assert trace["target"].startswith("/x")


def test_trace_shows_a_refused_handshake_as_a_websocket(up: Up) -> None:
    result = up.flysim("trace", up.edge("ams").replace("http", "ws") + "/gone")
    assert result.stdout.startswith("WebSocket /gone  at edge ams  → 302 from ams-1"), result.stdout


@pytest.mark.parametrize(("typed", "sent", "options"), [("a b", "a%20b", ()), ("a%20b", "a%20b", ("--ws",))])
def test_trace_shows_the_machine_that_does_not_respond(
    up: Up, typed: str, sent: str, options: tuple[str, ...]
) -> None:
    result = up.flysim("trace", f"{up.edge('ams')}/hang?x={typed}", "--timeout", "0.5", *options)
    assert result.returncode == 3
    assert f"/hang?x={sent}  at edge ams  → the client disconnected before a response" in result.stdout
    assert "1  ams-1  ams" in result.stdout
    assert f"/hang?x={typed} within 0.5 s\n  hint: set a longer --timeout" in result.stderr


@pytest.mark.parametrize("options", [(), ("--ws",)])
def test_trace_sends_the_bytes_of_the_command_line(up: Up, options: tuple[str, ...]) -> None:
    result = up.flysim("trace", f"{up.edge('ams')}/caf\udce9", *options)
    assert "/caf%E9  at edge ams" in result.stdout, result.stderr


def test_trace_sends_any_bytes_in_header_and_body(up: Up) -> None:
    result = up.flysim("trace", f"{up.edge('ams')}/x", "-H", "X: \udce9", "-d", "\udcff")
    assert result.returncode == 0, result.stderr


def test_a_control_address_needs_no_scheme(up: Up) -> None:
    result = flysim("status", "--control", up.ready["control"].removeprefix("http://"))
    assert result.returncode == 0, result.stderr


def test_trace_fits_a_narrow_terminal(up: Up) -> None:
    result = flysim("trace", "/", "--control", up.ready["control"], env={"COLUMNS": "50"})
    assert max(map(len, result.stdout.splitlines()[1:2])) <= 50, result.stdout


def test_trace_of_a_handshake_works_with_tls_and_follows_no_redirect(up: Up) -> None:
    url = up.edge("ams").replace("http", "https")
    result = up.flysim("trace", "--ws", f"{url}/gone", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["status"] == 302


def test_an_invalid_control_url_is_an_input_error() -> None:
    error = error_of("status", "--control", "nonsense")
    assert "'nonsense' is not the URL of a control API" in str(error)
    assert error.exit_status == 2


def test_a_server_that_is_not_a_control_api_is_an_environment_error(up: Up) -> None:
    error = error_of("status", "--control", up.edge("ams"))
    assert "is not flysim's control API" in str(error)
    assert error.exit_status == 3


def test_a_machine_that_exits_at_start_is_an_environment_error(up: Up) -> None:
    folder = up.log.parent
    assert up.flysim("machine", "stop", "ams-1", "--quiet").stdout == ""
    (folder / "dies").touch()
    result = up.flysim("machine", "start", "ams-1")
    assert result.returncode == 3
    assert "| no database here" in result.stderr
    (folder / "dies").unlink()
    refused = error_of("machine", "kill", "tiny/ams-1", "--control", up.ready["control"])
    assert re.match(r"machine ams-1 \(\w+\) is stopped, so it cannot be killed", str(refused))
    assert refused.exit_status == 2
    assert up.flysim("machine", "start", "tiny/ams-1").returncode == 0


def test_the_error_of_a_failed_start_is_printed_once(tmp_path: Path) -> None:
    """The machines that are stopped because of it are not printed."""
    config = tiny_config(tmp_path)
    config.write_text(config.read_text() + "count = 3\n")
    (tmp_path / "dies").touch()
    result = flysim("up", "-c", str(config))
    assert result.returncode == 3
    first, *rest = result.stderr.splitlines()
    assert first == "starting 3 machines …"
    assert re.match(r"flysim: machine ams-\d of app tiny exited with status 1 before", rest[0])
    assert not [line for line in rest[1:] if re.match(r"ams-\d is ", line)]


def test_a_closed_pipe_ends_logs_without_an_error_message(up: Up) -> None:
    process = start("logs", "--follow", "--control", up.ready["control"])
    httpx.get(up.edge("ams"), trust_env=False)
    assert output_of(process).readline()
    output_of(process).close()
    for _ in range(5):  # Only a write notices that the pipe is closed.
        httpx.get(up.edge("ams"), trust_env=False)
    assert process.wait(DEADLINE_SECONDS) == 141
    assert process.stderr
    assert process.stderr.read() == ""


def test_a_closed_pipe_stops_up_and_cleans_up(tmp_path: Path) -> None:
    process = start("up", "-c", str(tiny_config(tmp_path)))
    edge = output_of(process).readline().split()[-1]
    httpx.get(edge, trust_env=False)
    output_of(process).close()
    # flysim may already be stopping, because of the log line of the first request.
    with contextlib.suppress(httpx.TransportError):
        httpx.get(edge, trust_env=False)
    assert process.wait(DEADLINE_SECONDS) == 141
    assert process.stderr
    assert process.stderr.read().splitlines() == ["starting 1 machine …", "stopping …"]


def test_logs_follow_ends_when_the_simulator_stops(tmp_path: Path) -> None:
    with start_up(tmp_path, tiny_config(tmp_path)) as up:
        httpx.get(up.edge("ams"), trust_env=False)
        follower = start("logs", "-f", "--control", up.ready["control"])
        assert output_of(follower).readline()
        up.process.terminate()
        assert follower.wait(DEADLINE_SECONDS) == 0


def test_a_second_ctrl_c_does_not_wait_for_machines(tmp_path: Path) -> None:
    (tmp_path / "stubborn").touch()
    with start_up(tmp_path, tiny_config(tmp_path)) as up:
        up.process.send_signal(signal.SIGINT)
        up.wait_for_line("stopping …")
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(DEADLINE_SECONDS) == 130
        assert up.lines()[-1] == "stopped immediately"
        assert not (tmp_path / "ready.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_stops_flysim(tmp_path: Path, number: signal.Signals) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "app.py").write_text("import time; print('up', flush=True); time.sleep(600)")
    process = start("up", "-c", str(config))
    assert output_of(process).readline() == "ams up\n"
    process.send_signal(number)
    assert process.wait(DEADLINE_SECONDS) == 128 + number
    assert process.stderr
    assert process.stderr.read().splitlines()[-1] == "stopped before all machines were healthy"


def test_a_second_simulator_keeps_the_ready_file_of_the_first(up: Up, tmp_path: Path) -> None:
    ready = up.log.parent / "ready.json"
    port = int(up.edge("ams").rsplit(":", 1)[1])
    result = flysim("up", "-c", str(tiny_config(tmp_path, ams=port)), "--ready-file", str(ready))
    assert result.returncode == 3
    assert json.loads(ready.read_text()) == up.ready


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["up", "--ready-file", "{0}/none/ready.json", "-c", "{0}/flysim.toml"], "there is no folder"),
        (["run", "{0}/first.yaml", "--junit", "{0}"], "it is a folder"),
        (["run", "{0}/first.yaml", "--json", "{0}/none/report.json"], "there is no folder"),
    ],
)
def test_an_output_file_that_cannot_be_written_is_an_error_before_the_start(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    tiny_config(tmp_path)
    error = error_of(*(argument.format(tmp_path) for argument in arguments))
    assert problem in str(error)
    assert error.exit_status == 2


def test_exec_forwards_signals_and_options_to_the_command(tmp_path: Path) -> None:
    script = "import signal, sys; print(sys.argv[1:], flush=True); signal.pause()"
    command = [sys.executable, "-c", script, "-q", "--logs"]
    process = start("exec", "-q", "-c", str(tiny_config(tmp_path)), *command)
    assert output_of(process).readline() == "['-q', '--logs']\n"
    process.terminate()
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGTERM
    assert process.stderr
    assert process.stderr.read() == ""


def test_exec_forwards_ctrl_c_without_a_terminal(tmp_path: Path) -> None:
    script = "import signal; print('up', flush=True); signal.pause()"
    command = ["exec", "-c", str(tiny_config(tmp_path)), "--", "/bin/sh", "-c", 'exec "$0" -c "$1"']
    process = start(*command, sys.executable, script, start_new_session=True)
    assert output_of(process).readline() == "up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 128 + signal.SIGINT


@pytest.mark.parametrize(("command", "status"), [("no-such-command", 127), ("/", 126)])
def test_exec_exits_like_a_shell_for_a_command_that_cannot_run(
    tmp_path: Path, command: str, status: int
) -> None:
    result = CliRunner().invoke(app, ["exec", "-c", str(tiny_config(tmp_path)), "--", command])
    assert result.exit_code == status
    assert result.stderr.startswith(f"flysim: cannot run {command}:")


def test_run_replaces_unencodable_characters_and_prints_only_the_summary_when_quiet(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    result = flysim("run", str(tmp_path), env={"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("? It responds")
    quiet = CliRunner().invoke(app, ["run", "-q", str(tmp_path)])
    assert quiet.stdout == "1 passed, 0 failed\n"


def test_run_exits_with_the_status_of_the_signal_that_stops_it(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    (tmp_path / "app.py").write_text("import pathlib, time; pathlib.Path('started').touch(); time.sleep(600)")
    process = start("run", str(config.with_name("first.yaml")))
    wait_for((tmp_path / "started").exists, "the machine to start")
    process.terminate()
    assert process.wait(DEADLINE_SECONDS) == 143
    assert output_of(process).read() == "0 passed, 0 failed, 1 not run\n"


@pytest.mark.parametrize("file", ["scenario", "config"])
def test_schema_prints_a_json_schema(file: str) -> None:
    schema = json.loads(CliRunner().invoke(app, ["schema", file]).stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]


def test_the_version_is_printed() -> None:
    assert flysim("--version").stdout.startswith("flysim ")


def test_no_colour_without_a_terminal(up: Up) -> None:
    result = flysim("logs", "bogus", "--control", up.ready["control"])
    assert result.returncode == 2
    assert "\x1b" not in result.stdout + result.stderr

"""`flysim up` with the sample app, and the commands that use its control API."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.sync.client import connect

from tests.e2e.command import Up, flysim, flysim_up, free_demo, start_up, wait_for

AMS, DFW = "d8dd626f379508", "286533db064e58"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("up")
    with flysim_up(folder) as running:
        yield running


def test_one_click_logs_the_lines_of_the_article_in_order(up: Up) -> None:
    before = len(up.lines())
    with httpx.Client(base_url=up.edge("ams"), trust_env=False) as client:
        assert client.get("/", params={"instance": DFW}).status_code == 200
        cookie = client.cookies["fly-machine-id"]
    with connect(
        f"{up.edge('ams').replace('http', 'ws')}/ws",
        additional_headers={"Cookie": f"fly-machine-id={cookie}"},
    ):
        up.wait_for_line("CONNECTED TO /ws")
    expected = [
        rf"ams \[info\] Incorrect machine {AMS} based on parameter {DFW}\. Redirect\.",
        rf"dfw \[info\] Correct machine based on parameter {DFW}\. Set cookie and let pass\.",
        r"dfw \[info\] GET /",
        r"dfw \[info\] Sent 200 in \d+(ms|µs)",
        rf"ams \[info\] Incorrect machine {AMS} based on cookie {DFW}\. Redirect\.",
        rf"dfw \[info\] Correct machine based on cookie {DFW}\. Let pass\.",
        r"dfw \[info\] CONNECTED TO /ws in \d+(ms|µs)",
    ]
    lines = up.lines()[before:]
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_status_check_passes_while_all_running_machines_get_requests(up: Up) -> None:
    assert flysim("status", "--check", "--control", up.ready["control"]).returncode == 0


def test_trace_shows_both_hops_with_their_headers(up: Up) -> None:
    result = flysim("trace", f"{up.edge('ams')}/?instance={DFW}", "--control", up.ready["control"])
    assert result.returncode == 0, result.stderr
    assert "→ 200 from dfw-1" in result.stdout
    assert f"ams-1  ams  {AMS}  routed  307" in result.stdout
    assert f"dfw-1  dfw  {DFW}  replay  200" in result.stdout
    assert f"← fly-replay: instance={DFW}" in result.stdout
    assert f"→ fly-replay-src: instance={AMS};region=ams;t=" in result.stdout
    assert "← set-cookie: fly-machine-id=" in result.stdout


def test_trace_of_a_websocket_handshake_follows_the_cookie(up: Up) -> None:
    result = up.flysim("trace", "--ws", "--edge", "ams", "/ws", "-b", f"fly-machine-id={DFW}", "--json")
    assert result.returncode == 0, result.stderr
    trace = json.loads(result.stdout)
    assert trace["path"] == ["ams-1", "dfw-1"]
    assert trace["status"] == 101


def test_trace_of_a_post_with_header_and_edge(up: Up) -> None:
    result = up.flysim("trace", "/", "--edge", "dfw", "-d", "x=1", "-H", "X-Test: yes", "--json")
    trace = json.loads(result.stdout)
    assert (trace["method"], trace["edge"]) == ("POST", "dfw")


def test_the_proxy_notices_a_stopped_machine_and_trace_explains_the_failure(up: Up) -> None:
    assert up.flysim("machine", "stop", "dfw-2").returncode == 0
    listed = up.flysim("machine", "list").stdout
    assert re.search(r"dfw-2 .* stopped", listed)
    result = up.flysim("trace", up.edge("ams"), "-b", "fly-machine-id=4d891ee9b43e08")
    assert "502 from the proxy, PR04" in result.stdout
    assert "stale-cookie" in result.stdout
    assert "fix: use prefer_instance" in result.stdout
    assert up.flysim("machine", "start", "dfw-2").returncode == 0
    assert (
        httpx.get(up.edge("ams"), cookies={"fly-machine-id": "4d891ee9b43e08"}, trust_env=False).status_code
        == 200
    )


def test_cordon_clone_and_destroy(up: Up) -> None:
    clone = up.flysim("machine", "clone", "ams-1", "--region", "ams")
    assert clone.returncode == 0, clone.stderr
    assert "ams-2" in clone.stdout
    assert up.flysim("machine", "cordon", "ams-1").returncode == 0
    assert json.loads(up.flysim("trace", up.edge("ams"), "--json").stdout)["path"] == ["ams-2"]
    assert up.flysim("machine", "uncordon", "ams-1").returncode == 0
    assert up.flysim("machine", "destroy", "ams-2").returncode == 0
    assert "ams-2" not in up.flysim("status").stdout


def test_logs_of_one_machine(up: Up) -> None:
    httpx.get(f"{up.edge('dfw')}/", params={"instance": DFW}, trust_env=False)
    result = up.flysim("logs", "dfw-1")
    assert f"dfw [info] Correct machine based on parameter {DFW}. Set cookie and let pass." in result.stdout
    assert "ams [info]" not in result.stdout


def test_an_unknown_machine_is_an_error_that_lists_the_machines(up: Up) -> None:
    result = flysim("machine", "stop", "lhr-1", "--control", up.ready["control"])
    assert result.returncode == 2
    assert "there is no machine 'lhr-1'" in result.stderr
    assert "ams-1" in result.stderr


def test_the_error_for_a_port_in_use_names_the_process(up: Up, tmp_path: Path) -> None:
    port = up.edge("ams").rsplit(":", 1)[1]
    config = free_demo(tmp_path)
    config.write_text(config.read_text().replace("ams = 0", f"ams = {port}"))
    result = flysim("up", "-c", str(config))
    assert result.returncode == 3
    assert f"127.0.0.1:{port}: port {port} is in use by" in result.stderr
    assert f"(pid {up.process.pid})" in result.stderr
    assert "hint:" in result.stderr


def test_commands_without_a_running_simulator_suggest_flysim_up() -> None:
    result = flysim("status", env={"FLYSIM_CONTROL": "http://127.0.0.1:9"})
    assert result.returncode == 3
    assert "flysim up" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_machine_is_left_when_flysim_is_stopped_or_killed(tmp_path: Path, number: signal.Signals) -> None:
    with start_up(tmp_path) as up:
        machines = [
            process
            for process in psutil.Process(up.process.pid).children(recursive=True)
            if _is_machine(process)
        ]
        assert len(machines) == 3
        up.process.send_signal(number)
        assert up.process.wait(10) == (-signal.SIGKILL if number is signal.SIGKILL else 0)
        wait_for(lambda: not any(_is_alive(process) for process in machines), "the machines to exit")


def _is_machine(process: psutil.Process) -> bool:
    return "sample_app" in process.cmdline()


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_the_error_for_an_app_that_exits_at_start_has_its_last_log_lines(tmp_path: Path) -> None:
    config = tmp_path / "flysim.toml"
    config.write_text(
        "version = 1\n[edges]\nams = 0\n[control]\nport = 0\n[apps.web]\n"
        """command = ["{python}", "-c", "print('no database here'); raise SystemExit(7)"]\n"""
        '[[apps.web.machines]]\nregion = "ams"\n'
    )
    result = flysim("up", "-c", str(config))
    assert result.returncode == 3
    assert "exited with status 7" in result.stderr
    assert "| no database here" in result.stderr
    assert "Traceback" not in result.stderr


def test_exec_sets_the_variables_and_exits_with_the_status_of_the_command(tmp_path: Path) -> None:
    script = (
        "import json, os, sys, urllib.request as u;"
        "ready = json.load(open(os.environ['FLYSIM_READY']));"
        "assert ready['edges']['ams'] == os.environ['FLYSIM_EDGE_AMS'] == os.environ['FLYSIM_EDGE'];"
        "print(u.urlopen(os.environ['FLYSIM_EDGE_DFW']).status, len(ready['machines']));"
        "sys.exit(5)"
    )
    result = flysim("exec", "-c", str(free_demo(tmp_path)), "--", sys.executable, "-c", script)
    assert result.returncode == 5, result.stderr
    assert result.stdout.strip() == "200 3"

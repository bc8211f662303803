"""The same addon inside stock mitmdump and mitmweb: replays, WebSockets, and flows that their inspector can show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from websockets.sync.client import connect

from simulator.machines.port import free_ports
from tests.e2e.command import ROOT, free_demo, wait_for

DFW = "286533db064e58"
BIN = Path(sys.executable).parent


@contextmanager
def stock(tool: str, folder: Path, *arguments: str) -> Iterator[tuple[str, Path]]:
    """`tool -s simulator/stock.py` with the demo; gives the URL of its Amsterdam edge, and its log."""
    (control,) = free_ports(1)
    config = free_demo(folder)
    config.write_text(config.read_text().replace("port = 0", f"port = {control}"))
    command = [BIN / tool, "-n", "-s", ROOT / "simulator" / "stock.py", "--set", f"flysim_config={config}"]
    command += ["--set", f"confdir={folder}", *arguments]
    log = folder / "stock.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
    try:
        wait_for(lambda: process.poll() is not None or _edge_that_serves(control), tool, log)
        assert process.poll() is None, log.read_text()
        edge = _edge_that_serves(control)
        assert edge
        yield edge, log
    finally:
        process.terminate()
        process.wait(20)


def _edge_that_serves(control: int) -> str | None:
    """The URL of the Amsterdam edge, on the free port that the config asks for, once it delivers to Dallas."""
    try:
        ready = httpx.get(f"http://127.0.0.1:{control}/_flysim/ready", trust_env=False).json()
        edge: str = ready["edges"]["ams"]
        answer = httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
    except httpx.HTTPError:
        return None
    return edge if answer.status_code == 200 else None


def test_mitmdump_replays_and_shows_what_the_client_saw(tmp_path: Path) -> None:
    with stock("mitmdump", tmp_path) as (edge, log):
        answer = httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
        assert DFW in answer.text
        url = f"{edge.replace('http', 'ws')}/ws"
        with connect(url, additional_headers={"Cookie": f"fly-machine-id={DFW}"}) as websocket:
            assert DFW in str(websocket.recv(timeout=5))
        wait_for(
            lambda: re.search(r"WebSocket connection closed", log.read_text()),
            "the end of the WebSocket",
            log,
        )
        told = log.read_text()
        assert f"GET {edge}/?instance={DFW}" in told
        assert "<< 200 OK" in told
        assert "<< 307" not in told
        assert "Traceback" not in told


def test_mitmweb_lists_the_flow_with_the_machines_it_went_through(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    options = ("--no-web-open-browser", "--web-port", str(port), "--set", "web_password=secret")
    with stock("mitmweb", tmp_path, *options) as (edge, _):
        httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
        flows = httpx.get(
            f"http://127.0.0.1:{port}/flows", params={"token": "secret"}, trust_env=False
        ).json()
        assert "ams-1 → dfw-1" in [flow["comment"] for flow in flows if "comment" in flow]


def test_a_wrong_config_ends_mitmdump_with_the_reason(tmp_path: Path) -> None:
    config = tmp_path / "flysim.toml"
    config.write_text("version = 2\n")
    result = subprocess.run(
        [BIN / "mitmdump", "-n", "-s", ROOT / "simulator" / "stock.py", "--set", f"flysim_config={config}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert result.returncode != 0
    assert "flysim.toml:1" in result.stdout + result.stderr

"""flysim as a script of stock mitmdump and mitmweb: replays, WebSockets, and flows in their inspector."""

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
    """Run `tool -s simulator/stock.py` with the demo. Yields the URL of its Amsterdam edge, and its log."""
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
        wait_for(lambda: process.poll() is not None or _find_serving_edge(control), tool, log)
        assert process.poll() is None, log.read_text()
        edge = _find_serving_edge(control)
        assert edge
        yield edge, log
    finally:
        process.terminate()
        process.wait(20)


def _find_serving_edge(control: int) -> str | None:
    """The URL of the Amsterdam edge once it delivers to Dallas. Its port is a free one."""
    try:
        ready = httpx.get(f"http://127.0.0.1:{control}/_flysim/ready", trust_env=False).json()
        edge: str = ready["edges"]["ams"]
        response = httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
    except httpx.HTTPError:
        return None
    return edge if response.status_code == 200 else None


def test_mitmdump_replays_and_prints_the_final_response(tmp_path: Path) -> None:
    with stock("mitmdump", tmp_path) as (edge, log):
        response = httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
        assert DFW in response.text
        url = f"{edge.replace('http', 'ws')}/ws"
        with connect(url, additional_headers={"Cookie": f"fly-machine-id={DFW}"}) as websocket:
            assert DFW in str(websocket.recv(timeout=5))
        wait_for(
            lambda: re.search(r"WebSocket connection closed", log.read_text()),
            "the end of the WebSocket",
            log,
        )
        text = log.read_text()
        assert f"GET {edge}/?instance={DFW}" in text
        assert "<< 200 OK" in text
        assert "<< 307" not in text
        assert "Traceback" not in text


def test_mitmweb_lists_the_flow_with_the_machines_on_its_path(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    options = ("--no-web-open-browser", "--web-port", str(port), "--set", "web_password=secret")
    with stock("mitmweb", tmp_path, *options) as (edge, _):
        httpx.get(f"{edge}/", params={"instance": DFW}, trust_env=False)
        flows = httpx.get(
            f"http://127.0.0.1:{port}/flows", params={"token": "secret"}, trust_env=False
        ).json()
        assert "ams-1 → dfw-1" in [flow["comment"] for flow in flows if "comment" in flow]


def test_mitmdump_exits_with_the_error_of_an_invalid_config(tmp_path: Path) -> None:
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

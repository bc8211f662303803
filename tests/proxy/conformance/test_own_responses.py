"""Responses of flysim's own, of the proxy and of the control API, checked by httplint."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from httplint import HttpResponseLinter
from httplint.note import levels

from simulator.config import load_config
from simulator.runtime import Simulator

CONFIG = """
version = 1
[edges]
ams = 0
[control]
port = 0
[apps.web]
fly_toml = "fly.toml"
[[apps.web.machines]]
region = "ams"
url = "http://127.0.0.1:{port}"
"""
FLY_TOML = """
app = "web"
primary_region = "ams"
[http_service]
internal_port = 8080
force_https = true
"""

ACCEPTED = {
    "FRESHNESS_HEURISTIC": "no cache field on a redirect by force_https: facts name none (F-4.26)",
    "STATUS_BAD_REQUEST": "it is one, on purpose",
}
"""Warnings that stay, each with its reason."""


def notes(response: httpx.Response, body: bytes) -> dict[str, str]:
    """Level by id of what httplint says about this response, without what is merely information."""
    linter = HttpResponseLinter()
    linter.process_response_topline(
        b"HTTP/1.1", str(response.status_code).encode(), response.reason_phrase.encode()
    )
    linter.process_headers(list(response.headers.raw))
    linter.feed_content(body)
    linter.finish_content(True)
    return {
        type(note).__name__: note.level.name
        for note in linter.notes
        if note.level in (levels.BAD, levels.WARN)
    }


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "edge:/", 301),  # force_https
        ("POST", "edge:/", 301),
        ("HEAD", "edge:/", 301),
        ("GET", "tls:/", 502),
        ("GET", "control:/", 200),  # the page
        ("GET", "control:/_flysim/ready", 200),
        ("GET", "control:/_flysim/status", 200),
        ("GET", "control:/_flysim/traces", 200),
        ("GET", "control:/_flysim/traces/unknown", 404),
        ("GET", "control:/v1/apps/web/machines", 200),
        ("GET", "control:/nothing", 404),
        ("DELETE", "control:/_flysim/ready", 405),
        ("POST", "control:/_flysim/clock", 400),
        ("GET", "control:/_flysim/events", 200),
    ],
)
async def test_a_response_of_flysims_own_has_no_flaw(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    machine = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0
    )  # it never responds
    port = machine.sockets[0].getsockname()[1]
    (tmp_path / "flysim.toml").write_text(CONFIG.format(port=port))
    (tmp_path / "fly.toml").write_text(FLY_TOML)
    place, _, path = path.partition(":")
    async with Simulator(load_config(tmp_path / "flysim.toml"), realtime=False, free_ports=True) as simulator:
        edge = simulator.edges["ams"]
        base = {"edge": edge, "tls": edge.replace("http:", "https:"), "control": simulator.control_url}[place]
        async with (
            httpx.AsyncClient(base_url=base, verify=False) as client,
            client.stream(method, path) as response,
        ):
            assert response.status_code == status
            body = b""
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                body = await response.aread()
            flaws = notes(response, body)
    machine.close()
    assert {name: level for name, level in flaws.items() if name not in ACCEPTED} == {}

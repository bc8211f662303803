"""`flysim up` with each of the three fly.toml files of tests/config/fly: it starts, and routes as configured."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.machines.address import has_loopback_network
from simulator.machines.port import free_ports
from tests.config.test_real_fly_tomls import FILES
from tests.e2e.command import DEADLINE_SECONDS, FLYSIM, ROOT, Up, wait_for

AMS, DFW, WEB, ADMIN, WORKER = (f"{digit}" * 14 for digit in "12345")
TAIL = "\n[control]\nport = 0\n[proxy]\nreplay_error_seconds = 0.1\n"

needs_addresses = pytest.mark.skipif(
    not has_loopback_network(), reason="several ports per machine need an address of their own"
)


def _machine(region: str, machine_id: str, group: str = "app") -> str:
    return f'[[apps.x.machines]]\nregion = "{region}"\nid = "{machine_id}"\ngroup = "{group}"\n'


@contextmanager
def _up(folder: Path, fly_toml: str, edges: str, app: str, *machines: str) -> Iterator[Up]:
    """Run `flysim up` with the tiny app during the block, then stop it with Ctrl-C."""
    shutil.copy(FILES / fly_toml, folder / "fly.toml")
    shutil.copy(Path(__file__).with_name("fly_app.py"), folder / "app.py")
    config, ready, log = folder / "flysim.toml", folder / "ready.json", folder / "up.log"
    head = f'version = 1\n[edges]\n{edges}\n[apps.x]\nfly_toml = "fly.toml"\n{app}\n'
    config.write_text(head + "".join(machines) + TAIL)
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ["PATH"]]
    )  # the `python` of [processes]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*FLYSIM, "up", "-c", str(config), "--ready-file", str(ready)],
            cwd=ROOT, env={**os.environ, "PATH": path}, stdout=output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        wait_for(lambda: ready.exists() or process.poll() is not None, "flysim up", log)
        assert process.poll() is None, log.read_text()
        yield Up(process, json.loads(ready.read_text()), log)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_SECONDS) == 0, log.read_text()
    finally:
        process.kill()


def _get(url: str, **headers: str) -> dict[str, Any]:
    response = httpx.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert response.status_code == 200, (response, response.headers)
    description: dict[str, Any] = response.json()
    return description


# notes.toml: a plain [http_service].


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    command = 'command = "{python} app.py"'
    machines = _machine("ams", AMS), _machine("dfw", DFW)
    with _up(tmp_path_factory.mktemp("notes"), "notes.toml", "ams = 0\ndfw = 0", command, *machines) as up:
        yield up


def test_notes_redirects_http_to_https(notes: Up) -> None:
    """F-4.26, F-9.3."""
    response = httpx.get(f"{notes.edge('ams')}/a?b=c")

    assert response.status_code == 301
    assert response.headers["location"] == notes.edge("ams").replace("http", "https") + "/a?b=c"


@pytest.mark.parametrize(("edge", "machine"), [("ams", AMS), ("dfw", DFW)])
def test_notes_answers_over_tls_from_the_nearest_machine(notes: Up, edge: str, machine: str) -> None:
    """F-5.1, F-9.1."""
    response = httpx.get(notes.edge(edge).replace("http", "https"), verify=False)

    assert (response.status_code, response.json()["id"]) == (200, machine)


def test_notes_sets_its_response_headers(notes: Up) -> None:
    """F-4.25, F-9.10."""
    response = httpx.get(notes.edge("ams").replace("http", "https"), verify=False)

    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers.get_list("link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
    assert "x-powered-by" not in response.headers
    assert response.headers["server"].startswith("Fly/")  # F-4.21


def test_notes_has_a_warning_that_its_statics_are_not_served(notes: Up) -> None:
    notes.wait_for_line("statics[0] is not emulated")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_notes_accepts_both_versions_of_tls(notes: Up, version: ssl.TLSVersion) -> None:
    """F-10.14."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version

    assert httpx.get(notes.edge("ams").replace("http", "https"), verify=context).status_code == 200


# relay.toml: [[services]] by process group, several ports.


@pytest.fixture(scope="module")
def relay_ports() -> tuple[int, int, int]:
    admin, raw, other = free_ports(3)
    return admin, raw, other


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory, relay_ports: tuple[int, int, int]) -> Iterator[Up]:
    admin, raw, other = relay_ports
    edges = f"ams = {{ 80 = 0, 9090 = {admin}, 7001 = {raw}, 8443 = {other} }}"
    machines = _machine("ams", WEB, "web"), _machine("dfw", ADMIN, "admin")
    host = 'env = { HOST = "{host}" }'
    with _up(tmp_path_factory.mktemp("relay"), "relay.toml", edges, host, *machines) as up:
        yield up


@needs_addresses
def test_relay_is_served_by_the_group_that_has_the_port(relay: Up, relay_ports: tuple[int, int, int]) -> None:
    """F-5.12, F-9.6, F-9.15."""
    web, admin = _get(relay.edge("ams")), _get(f"http://127.0.0.1:{relay_ports[0]}/")

    assert (web["id"], web["group"]) == (WEB, "web")
    assert (admin["id"], admin["group"]) == (ADMIN, "admin")


@needs_addresses
def test_relay_does_not_replay_to_a_group_without_the_port(
    relay: Up, relay_ports: tuple[int, int, int]
) -> None:
    """F-1.61: the target must have the public port on which the request arrived."""
    admin = f"http://127.0.0.1:{relay_ports[0]}"

    assert _get(f"{admin}/?to={ADMIN}")["id"] == ADMIN
    assert httpx.get(f"{relay.edge('ams')}/?to={ADMIN}").status_code == 502


@needs_addresses
def test_relay_has_pristine_responses_on_the_port_configured_for_them(relay: Up) -> None:
    """F-4.24, F-9.10."""
    plain = httpx.get(relay.edge("ams"))
    secure = httpx.get(relay.edge("ams").replace("http", "https"), verify=False)

    assert plain.headers["server"].startswith("Fly/")
    assert "fly-request-id" in plain.headers
    assert secure.headers["server"] == "tiny"
    assert not {"fly-request-id", "via"} & set(secure.headers)


@needs_addresses
def test_relay_passes_raw_connections_through_with_the_clients_address(
    relay: Up, relay_ports: tuple[int, int, int]
) -> None:
    """F-9.4, F-9.13: version 2 of the PROXY protocol, then the client's bytes, no Fly header."""
    with socket.create_connection(("127.0.0.1", relay_ports[1]), DEADLINE_SECONDS) as client:
        client.sendall(b"hello\n")
        received = b""
        while data := client.recv(1024):
            received += data

    name, _, rest = received.partition(b" ")
    assert name == ADMIN.encode()
    assert rest.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01")
    assert rest.endswith(b"hello\n")


@needs_addresses
def test_relay_responds_with_502_on_a_port_without_a_service(
    relay: Up, relay_ports: tuple[int, int, int]
) -> None:
    assert httpx.get(f"http://127.0.0.1:{relay_ports[2]}/").status_code == 502
    relay.wait_for_line("edges.ams.8443: no app has a service on port 8443")


@needs_addresses
def test_relay_has_a_warning_about_the_group_without_machines(relay: Up) -> None:
    """F-9.15."""
    relay.wait_for_line(
        'no machine runs the process group "worker"; the configured machines run "web", "admin"'
    )


# mcp.toml: replay_cache by cookie and by header.


@pytest.fixture(scope="module")
def mcp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    command = 'command = "{python} app.py"'
    machines = _machine("ams", AMS), _machine("dfw", DFW)
    with _up(tmp_path_factory.mktemp("mcp"), "mcp.toml", "ams = 0\ndfw = 0", command, *machines) as up:
        yield up


def test_mcp_caches_the_replay_of_a_session_by_its_cookie(mcp: Up) -> None:
    """F-2.6, F-2.18, F-2.23, F-2.25."""
    first = _get(f"{mcp.edge('ams')}/?to={DFW}", cookie="session=one")
    again = _get(f"{mcp.edge('ams')}/page", cookie="session=one")
    other = _get(f"{mcp.edge('ams')}/page", cookie="session=two")
    none = _get(f"{mcp.edge('ams')}/page")

    assert [each["id"] for each in (first, again, other, none)] == [DFW, DFW, AMS, AMS]
    assert f"instance={AMS}" in first["headers"]["fly-replay-src"]
    assert again["headers"]["fly-replay-cache-status"] == "hit"
    assert "fly-replay-src" not in again["headers"]


def test_mcp_caches_it_by_the_header_under_the_longer_path_prefix(mcp: Up) -> None:
    """F-2.19, F-2.21."""
    first = _get(f"{mcp.edge('ams')}/mcp/x?to={DFW}", mcp_session_id="s", cookie="session=three")
    again = _get(f"{mcp.edge('ams')}/mcp", mcp_session_id="s")
    by_cookie = _get(f"{mcp.edge('ams')}/page", cookie="session=three")

    assert [each["id"] for each in (first, again, by_cookie)] == [DFW, DFW, AMS]


def test_mcp_lets_clients_bypass_only_the_cache_by_header(mcp: Up) -> None:
    """F-2.29, F-2.30."""
    _get(f"{mcp.edge('ams')}/?to={DFW}", cookie="session=four")
    _get(f"{mcp.edge('ams')}/mcp?to={DFW}", mcp_session_id="t")
    skip = {"fly_replay_cache_control": "skip"}

    by_cookie = _get(f"{mcp.edge('ams')}/", cookie="session=four", **skip)
    by_header = _get(f"{mcp.edge('ams')}/mcp", mcp_session_id="t", **skip)

    assert [each["id"] for each in (by_cookie, by_header)] == [DFW, AMS]


def test_mcp_keeps_the_caches_of_two_hostnames_apart(mcp: Up) -> None:
    """F-2.22."""
    first = _get(f"{mcp.edge('ams')}/?to={DFW}", cookie="session=five", host="a.example")
    other = _get(f"{mcp.edge('ams')}/", cookie="session=five", host="b.example")

    assert [each["id"] for each in (first, other)] == [DFW, AMS]


def test_mcp_responses_are_not_compressed_by_default(mcp: Up) -> None:
    """F-9.9, X-7: off by default."""
    response = httpx.get(mcp.edge("ams"), headers={"accept-encoding": "gzip, br, zstd"})

    assert "content-encoding" not in response.headers


# A group without a service.


@needs_addresses
def test_a_worker_without_a_port_is_started(tmp_path: Path) -> None:
    """F-5.23: without checks it is healthy once started, and the proxy never sends it requests."""
    machines = _machine("ams", WEB, "web"), _machine("ams", WORKER, "worker")
    with _up(tmp_path, "relay.toml", "ams = 0", 'env = { HOST = "{host}" }', *machines) as up:
        states = {machine["id"]: machine["state"] for machine in up.ready["machines"]}

    assert states == {WEB: "started", WORKER: "started"}

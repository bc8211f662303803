"""`docker compose up`: the sample app in containers, and flysim in their network without access to the engine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address

import httpx
import pytest
from websockets.sync.client import connect

from tests.docker.demo import Demo, demo_up, eventually
from tests.e2e.command import flysim

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.timeout(900)]

AMS, DFW, DFW_2 = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"
ALL = f"{AMS} ams,{DFW} dfw,{DFW_2} dfw"
ASK = """
import json
import dns.message, dns.query, dns.rdatatype, dns.resolver

def ask(name, kind, server=None, tcp=False):
    server = server or dns.resolver.Resolver().nameservers[0]
    query = dns.message.make_query(name, kind)
    answer = (dns.query.tcp if tcp else dns.query.udp)(query, server, timeout=5)
    return [record.to_text().strip('"') for records in answer.answer for record in records]
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with demo_up() as demo:
        yield demo


def test_once_it_is_up_every_machine_is_routed_to(demo: Demo) -> None:
    assert {name for name in demo.machines() if demo.is_routed_to(name)} == {"ams-1", "dfw-1", "dfw-2"}


def test_a_request_in_amsterdam_is_replayed_to_the_machine_in_the_link(demo: Demo) -> None:
    response = demo.client.get("/", params={"instance": DFW})

    assert response.status_code == 200
    assert f'data-page-machine="{DFW}"' in response.text
    assert response.cookies["fly-machine-id"] == DFW


def test_the_websocket_follows_the_cookie(demo: Demo) -> None:
    url = f"ws://127.0.0.1:{demo.ports['AMS']}/ws"
    with connect(url, additional_headers={"Cookie": f"fly-machine-id={DFW}"}, proxy=None) as socket:
        first = socket.recv(timeout=10)
        assert DFW in (first if isinstance(first, str) else first.decode())


def test_each_edge_prefers_its_own_region(demo: Demo) -> None:
    demo.client.get(f"http://127.0.0.1:{demo.ports['DFW']}/healthz")
    latest = demo.get("/_flysim/traces")[-1]

    assert (latest["edge"], latest["hops"][0]["region"]) == ("dfw", "dfw")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("server", ["the machine's own", "flysim itself"])
def test_private_names_are_answered_inside_a_machine(demo: Demo, server: str, tcp: bool) -> None:
    """F-8.1, F-8.3, F-8.9, F-8.16, F-8.20: AAAA records lead to private addresses of Fly's shape."""
    prefix = demo.variables["FLYSIM_NET6"]
    at = None if server == "the machine's own" else f"{prefix}::3"
    program = f"""{ASK}
def lookup(name, kind):
    return ask(name, kind, {at!r}, {tcp})
print(json.dumps([lookup("vms.streams.internal", "TXT"), lookup("{DFW}.vm.streams.internal", "AAAA"),
    lookup("streams.internal", "AAAA"), lookup("streams.flycast", "AAAA")]))"""

    machines, one, every, flycast = demo.run_python("ams-1", program)

    assert machines == [ALL]
    assert one == [str(ip_address(f"{prefix}:0:a7b:8a30:41f2:2"))]
    assert len(every) == 3
    assert all(address.startswith("fdaa:") for address in every)
    assert flycast == [f"{prefix}::3"]


def test_nearest_is_relative_to_the_machine_that_queries(demo: Demo) -> None:
    """F-8.2"""
    program = f'{ASK}\nprint(json.dumps(ask("top1.nearest.of.streams.internal", "AAAA")))'

    assert demo.run_python("ams-1", program) != demo.run_python("dfw-1", program)


def test_names_that_are_not_private_are_resolved_by_dockers_name_server(demo: Demo) -> None:
    """F-8.15: flysim forwards these queries to Docker's name server, which forwards public names."""
    program = f"""{ASK}
print(json.dumps([ask("dfw-1.", "A", "{demo.variables["FLYSIM_NET6"]}::3", tcp) for tcp in (False, True)]))"""

    by_udp, by_tcp = demo.run_python("ams-1", program)

    assert by_udp == by_tcp == [demo.machines()["dfw-1"]["address"].partition(":")[0]]


def test_a_flycast_request_goes_through_the_proxy_with_its_replays(demo: Demo) -> None:
    """F-8.20: on the public port, at the edge nearest to the client."""
    program = f"""
import json, urllib.request
opened = urllib.request.urlopen("http://streams.flycast/?instance={AMS}", timeout=20)
print(json.dumps([opened.status, opened.headers["set-cookie"]]))"""

    status, cookie = demo.run_python("dfw-1", program)
    latest = [trace for trace in demo.get("/_flysim/traces") if trace["host"] == "streams.flycast"][-1]

    assert (status, f"fly-machine-id={AMS}" in cookie) == (200, True)
    assert (latest["edge"], latest["served_by"]) == ("dfw", "ams-1")


def test_a_machine_has_the_environment_of_fly(demo: Demo) -> None:
    """F-7.3, F-7.4, F-8.17: including its own private address, by name."""
    environment = demo.execute("dfw-1", "cat", "/proc/1/environ").stdout.split("\0")
    known = dict(line.partition("=")[::2] for line in environment)
    program = 'import json, socket; print(json.dumps(socket.getaddrinfo("fly-local-6pn", 80)[0][4][0]))'

    assert known["FLY_MACHINE_ID"] == known["FLY_ALLOC_ID"] == DFW
    assert (known["FLY_REGION"], known["FLY_APP_NAME"], known["FLY_VM_MEMORY_MB"]) == (
        "dfw",
        "streams",
        "256",
    )
    own = demo.run_python("dfw-1", program)
    assert own == demo.get(f"/v1/apps/streams/machines/{DFW}")["private_ip"]
    assert ip_address(known["FLY_PRIVATE_IP"]) == ip_address(own)


@pytest.mark.parametrize("service", ["simulator", "ams-1", "dfw-1", "dfw-2"])
def test_no_container_runs_as_root_or_can_write_outside_tmp(demo: Demo, service: str) -> None:
    host_config = demo.inspect(service)["HostConfig"]

    assert demo.execute(service, "id", "-u").stdout.strip() == "65534"
    assert demo.execute(service, "touch", "/x", check=False).returncode != 0
    assert demo.execute(service, "touch", "/tmp/x").returncode == 0
    assert (host_config["ReadonlyRootfs"], host_config["CapDrop"], host_config["Privileged"]) == (
        True,
        ["ALL"],
        False,
    )
    assert "no-new-privileges:true" in host_config["SecurityOpt"]
    assert host_config["PidsLimit"] > 0
    assert host_config["Memory"] == (512 if service == "simulator" else 256) * 2**20


def test_flysim_reports_that_it_has_no_access_to_the_engine(demo: Demo) -> None:
    assert all("docker.sock" not in mount["Source"] for mount in demo.inspect("simulator")["Mounts"])
    assert "flysim has no access to a Docker engine" in demo.compose("logs", "simulator")
    rejected = demo.execute("simulator", "flysim", "machine", "stop", "dfw-1", check=False)
    assert rejected.returncode == 2
    assert "access to the Docker engine" in rejected.stderr


def test_every_port_is_published_on_loopback_only(demo: Demo) -> None:
    for service in ("simulator", "ams-1"):
        published = demo.inspect(service)["NetworkSettings"]["Ports"]
        hosts = {each["HostIp"] for bindings in published.values() for each in bindings or ()}
        assert hosts == {"127.0.0.1"}, service


def test_the_control_api_requires_the_token_outside_its_container(demo: Demo) -> None:
    status, kill = f"{demo.control_url}/_flysim/status", f"{demo.control_url}/_flysim/machines/dfw-2/kill"
    program = """
import json, urllib.error, urllib.request
def status_of(method, path):
    request = urllib.request.Request("http://simulator:4280" + path, method=method, headers={"Host": "127.0.0.1"})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code
print(json.dumps([status_of("GET", "/_flysim/traces"), status_of("POST", "/_flysim/machines/dfw-2/kill")]))"""

    assert httpx.get(status, trust_env=False).status_code == 401
    assert httpx.post(kill, trust_env=False).status_code == 401
    assert demo.run_python("ams-1", program) == [401, 401]
    assert demo.execute("simulator", "flysim", "status").returncode == 0


def test_the_link_of_the_page_works_on_the_host(demo: Demo) -> None:
    log = demo.compose("logs", "--no-log-prefix", "simulator")
    (link,) = re.findall(r"page +(http\S+)", log)

    with httpx.Client(trust_env=False, follow_redirects=True) as browser:
        assert link.startswith(f"{demo.control_url}/?token=")
        page = browser.get(link)
        assert (page.status_code, str(page.url)) == (200, f"{demo.control_url}/")
        assert browser.get(f"{demo.control_url}/_flysim/status").status_code == 200


def test_commands_on_the_host_use_the_token(demo: Demo) -> None:
    environment = {"FLYSIM_CONTROL": demo.control_url}
    refused = flysim("status", env=environment)
    token = demo.variables["FLYSIM_CONTROL_TOKEN"]

    assert (refused.returncode, "requires a token" in refused.stderr) == (3, True)
    assert flysim("status", env={**environment, "FLYSIM_CONTROL_TOKEN": token}).returncode == 0


def test_flysim_prints_the_addresses_on_the_host(demo: Demo) -> None:
    log = demo.compose("logs", "--no-log-prefix", "simulator")

    for port in demo.ports.values():
        assert f"http://127.0.0.1:{port}" in log


def test_a_stopped_machine_is_not_routed_to_until_it_starts_again(demo: Demo) -> None:
    """F-8.14: its private names are removed and return as well."""
    program = f'{ASK}\nprint(json.dumps(ask("vms.streams.internal", "TXT")))'
    demo.compose("stop", "dfw-2")
    eventually(lambda: demo.machines()["dfw-2"]["state"] == "stopped", "the stop of dfw-2")
    without = demo.run_python("ams-1", program)
    exit_code = demo.execute("simulator", "flysim", "status", "--check").returncode

    demo.compose("start", "dfw-2")
    eventually(lambda: demo.is_routed_to("dfw-2"), "dfw-2 again")

    assert without == [f"{AMS} ams,{DFW} dfw"]
    assert exit_code == 0
    assert demo.run_python("ams-1", program) == [ALL]
    assert DFW_2 in demo.client.get("/", params={"instance": DFW_2}).text


def test_a_killed_machine_is_not_routed_to(demo: Demo) -> None:
    demo.compose("kill", "dfw-2")
    eventually(lambda: demo.machines()["dfw-2"]["state"] == "stopped", "the stop of dfw-2")

    demo.compose("start", "dfw-2")
    eventually(lambda: demo.is_routed_to("dfw-2"), "dfw-2 again")


def test_flysim_is_unhealthy_while_a_running_machine_is_not_routed_to(demo: Demo) -> None:
    demo.execute("simulator", "flysim", "status", "--check")
    demo.compose("pause", "dfw-2")
    try:
        demo.advance("15s")  # The check's interval.
        eventually(lambda: not demo.is_routed_to("dfw-2"), "a failed check of dfw-2")
        checked = demo.execute("simulator", "flysim", "status", "--check", check=False)
    finally:
        demo.compose("unpause", "dfw-2")

    assert checked.returncode == 3
    assert "not routed to: dfw-2 (unhealthy: no response to GET /healthz within 2 s)" in checked.stderr
    demo.advance("15s")
    eventually(lambda: demo.is_routed_to("dfw-2"), "dfw-2 again")


def test_a_scaled_service_is_reported_and_not_routed_to(demo: Demo) -> None:
    demo.compose("up", "-d", "--no-recreate", "--scale", "dfw=2")
    eventually(
        lambda: (
            "flysim does not route to the containers of the service dfw" in demo.compose("logs", "simulator")
        ),
        "the warning",
    )
    machine_id = demo.execute(
        "dfw", "sh", "-c", "tr '\\0' '\\n' < /proc/1/environ | sed -n s/^FLY_MACHINE_ID=//p"
    )

    assert re.fullmatch("[0-9a-f]{12}", machine_id.stdout.strip())
    assert machine_id.stdout.strip() not in {machine["id"] for machine in demo.machines().values()}
    demo.compose("up", "-d", "--no-recreate", "--scale", "dfw=0")


def test_a_container_of_compose_run_does_not_have_the_name_of_its_service(demo: Demo) -> None:
    """So the lookup by name does not find it, and it is not a machine."""
    program = f'{ASK}\nprint(json.dumps(ask("dfw.", "A", "{demo.variables["FLYSIM_NET6"]}::3")))'
    with demo.one_off("dfw", "sleep", "600"):
        found = demo.run_python("ams-1", program)

    assert found == []


def test_docker_compose_down_removes_everything() -> None:
    with demo_up(wait=False) as demo:
        assert demo.remaining()

        demo.compose("down")

        assert demo.remaining() == []

"""Three realistic fly.toml files of different shape, checked field by field. The files are in `fly/`."""

from __future__ import annotations

from pathlib import Path

from simulator.config import Check, Config, FlyToml, load_config
from simulator.config.fly.model import FlyService
from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.model import Fleet, Machine
from simulator.routing.service import Autostop, HttpOptions, ServicePort
from tests.config.writing import write

FILES = Path(__file__).parent / "fly"


def _load(folder: Path, name: str, *groups: str, edge: str = "8080") -> Config:
    """Loads the file for an app with one machine in Amsterdam per group."""
    rows = "".join(f'[[apps.x.machines]]\nregion = "ams"\ngroup = "{group}"\n' for group in groups)
    text = f'version = 1\nedges = {{ ams = {edge} }}\n[apps.x]\nfly_toml = "{FILES / name}"\n'
    start = 'command = "serve {host}"\n' if groups == ("app",) else 'env = { HOST = "{host}" }\n'
    return load_config(write(folder, text + start + rows))


def _fly(config: Config) -> FlyToml:
    fly = config.apps[0].fly
    assert fly is not None
    return fly


def _warnings(config: Config) -> list[str]:
    """The warnings, except the one about the app's different name."""
    return [line.removeprefix(f"{FILES}/") for line in config.warnings if "is ignored" not in line]


def test_notes_has_an_http_service_written_by_fly_launch(tmp_path: Path) -> None:
    """F-9.1, F-9.7, F-9.14."""
    config = _load(tmp_path, "notes.toml", "app")

    headers = (
        ("X-Frame-Options", ("DENY",)),
        ("Link", ("</a.css>; rel=preload", "</b.js>; rel=preload")),
        ("X-Powered-By", None),
    )
    options = HttpOptions(response_headers=headers, idle_timeout_seconds=600.0)
    check = Check("http", path="/up", grace_seconds=10.0, interval_seconds=30.0, timeout_seconds=5.0)
    service = FlyService(
        internal_port=3000,
        ports=(
            ServicePort(80, 80, ("http",), force_https=True, http=options),
            ServicePort(443, 443, ("tls", "http"), http=options),
        ),
        groups=("app",),
        soft_limit=50,
        hard_limit=80,
        autostart=True,
        autostop=Autostop.SUSPEND,
        min_machines_running=1,
        concurrency_type="requests",
        checks=(check,),
    )
    assert config.apps[0].app.services == (service,)
    assert config.apps[0].app.primary_region == "ams"
    (machine,) = config.machines
    assert (machine.internal_port, machine.checks, machine.group) == (3000, (check,), "app")
    assert (machine.kill_signal, machine.kill_timeout_seconds, machine.memory_mb) == ("SIGTERM", 10.0, 512)
    assert dict(machine.env) == {"LOG_LEVEL": "info", "PORT": "3000"}


def test_settings_of_notes_that_are_not_emulated_are_warnings(tmp_path: Path) -> None:
    assert _warnings(_load(tmp_path, "notes.toml", "app")) == [
        "notes.toml:43: http_service.http_options.compress is not emulated",
        "notes.toml:50: statics[0] is not emulated: files in /app/public are not served at /assets. The app "
        "receives these requests and may replay them; on Fly, requests for existing files never reach the app",
    ]


def test_relay_has_services_by_process_group(tmp_path: Path) -> None:
    """F-9.6, F-9.13, F-9.15; F-5.35: a boolean as autostop."""
    config = _load(tmp_path, "relay.toml", "admin", "web", "worker", edge="{ 80 = 0, 9090 = 0, 7001 = 0 }")

    web, admin, raw = config.apps[0].app.services
    assert web == FlyService(
        internal_port=8080,
        ports=(
            ServicePort(80, 80, ("http",)),
            ServicePort(443, 443, ("tls", "http"), http=HttpOptions(pristine=True)),
        ),
        groups=("web",),
        soft_limit=200,
        hard_limit=250,
        autostop=Autostop.STOP,
        min_machines_running=1,
        checks=(Check("tcp"),),
    )
    assert admin == FlyService(
        internal_port=8081,
        ports=(ServicePort(9090, 9090, ("http",)),),
        groups=("admin",),
        autostart=False,
        checks=(Check("http", path="/up", interval_seconds=10.0),),
    )
    assert raw == FlyService(
        internal_port=7000,
        ports=(ServicePort(7000, 7002, ("proxy_proto",), proxy_proto="v2"),),
        groups=("admin",),
    )
    assert not raw.ports[0].speaks_http
    assert _warnings(config) == []


def test_the_machines_of_relay_have_the_settings_of_their_groups(tmp_path: Path) -> None:
    """F-5.12, F-9.15: ports are open only on the groups that a service names."""
    config = _load(tmp_path, "relay.toml", "admin", "web", "worker", edge="{ 80 = 0, 9090 = 0, 7001 = 0 }")

    app, machines = config.apps[0].app, {machine.group: machine for machine in config.machines}
    assert {group: machine.command for group, machine in machines.items()} == {
        "admin": ("python", "app.py", "admin"),
        "web": ("python", "app.py", "web"),
        "worker": ("python", "app.py", "worker"),
    }
    assert [machines[group].internal_port for group in ("admin", "web")] == [8081, 8080]
    assert [machines[group].memory_mb for group in ("admin", "web", "worker")] == [256, 256, 1024]
    assert machines["admin"].checks == (Check("http", path="/up", interval_seconds=10.0),)
    assert (machines["web"].checks, machines["worker"].checks) == ((Check("tcp"),), ())
    offered = {
        group: [port for port in (80, 443, 9090, 7000, 7002) if app.find_service(port, group)]
        for group in machines
    }
    assert offered == {"admin": [9090, 7000, 7002], "web": [80, 443], "worker": []}


def test_a_machine_serves_the_first_service_of_its_group_on_its_assigned_port(tmp_path: Path) -> None:
    """F-1.61, F-5.12: other services use their internal ports, which requires an address of its own."""
    config = _load(tmp_path, "relay.toml", "admin", "web", edge="{ 80 = 0, 9090 = 0, 7000 = 0 }")
    web = Machine("0" * 14, "ams-1", "x", "ams", port=20_001, group="web")
    admin = Machine("1" * 14, "ams-2", "x", "ams", port=20_002, group="admin")

    fleet = Fleet.of([config.apps[0].app], [web, admin])

    assert [fleet.port_of(web, port) for port in (80, 443)] == [20_001, 20_001]
    assert [fleet.port_of(admin, port) for port in (9090, 7000)] == [20_002, 7000]


def test_relay_alone_has_one_machine_per_group_and_all_its_ports(tmp_path: Path) -> None:
    """Only the first port of a range is opened, because a range can be large; flysim.toml can map the others."""
    path = write(tmp_path, (FILES / "relay.toml").read_text(), "fly.toml")

    config = load_config(path)

    assert [machine.group for machine in config.machines] == ["admin", "web", "worker"]
    assert {machine.region for machine in config.machines} == {"dfw"}
    assert dict(config.edges) == {"dfw": 8080}
    assert dict(config.extra_ports) == {("dfw", 9090): 9090, ("dfw", 7000): 7000}


def test_mcp_has_one_cache_rule_by_cookie_and_one_by_header(tmp_path: Path) -> None:
    """F-2.18, F-2.19, F-2.20, F-9.11."""
    config = _load(tmp_path, "mcp.toml", "app")

    (service,) = config.apps[0].app.services
    rules = (
        CacheRule("/", 60, KeyKind.COOKIE, "session", allow_bypass=False),
        CacheRule("/mcp", 10, KeyKind.HEADER, "Mcp-Session-Id", allow_bypass=True),
    )
    assert [(port.start, port.http.cache_rules) for port in service.ports] == [(80, rules), (443, rules)]
    assert (service.internal_port, service.autostop, service.groups) == (8000, Autostop.STOP, ())
    assert config.machines[0].memory_mb == 512
    assert _warnings(config) == []
    assert _fly(config).app == "tide-mcp"

"""The app's own fly.toml: what is taken from it, what is warned of, what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import Check, Config, FlyToml, MachineSpec
from tests.config.writing import HEAD, load, problem_of

FLYSIM = (
    HEAD + '[apps.chat]\ncommand = "serve"\nfly_toml = "fly.toml"\n[[apps.chat.machines]]\nregion = "ams"\n'
)


def _load(folder: Path, fly_toml: str) -> Config:
    return load(folder, FLYSIM, fly_toml)


def _machine(folder: Path, fly_toml: str) -> MachineSpec:
    return _load(folder, fly_toml).machines[0]


def _fly(folder: Path, fly_toml: str) -> FlyToml:
    fly = _load(folder, fly_toml).apps[0].fly
    assert fly is not None
    return fly


def _warnings(folder: Path, fly_toml: str) -> list[str]:
    return [warning.replace(f"{folder}/", "") for warning in _load(folder, fly_toml).warnings]


def test_what_fly_launch_writes_is_read(tmp_path: Path) -> None:
    fly_toml = """\
        app = "chat"
        primary_region = "ams"
        kill_signal = "SIGTERM"
        kill_timeout = "30s"
        [build]
        [env]
          LOG = "debug"
        [http_service]
          internal_port = 3000
          force_https = true
          auto_stop_machines = "stop"
          auto_start_machines = true
          min_machines_running = 0
          processes = ["app"]
        [[vm]]
          memory = "1gb"
          cpu_kind = "shared"
          cpus = 1
        """

    machine = _machine(tmp_path, fly_toml)

    assert (machine.internal_port, machine.memory_mb, machine.primary_region) == (3000, 1024, "ams")
    assert (machine.kill_signal, machine.kill_timeout_seconds, machine.group) == ("SIGTERM", 30.0, "app")
    assert dict(machine.env) == {"LOG": "debug"}
    assert _warnings(tmp_path, fly_toml) == [
        "fly.toml:10: http_service.force_https is not emulated",
        "fly.toml:11: http_service.auto_stop_machines is not emulated",
        "fly.toml:12: http_service.auto_start_machines is not emulated",
    ]
    (service,) = _fly(tmp_path, fly_toml).services
    # F-9.1
    assert [(port.start, port.handlers) for port in service.ports] == [
        (80, ("http",)),
        (443, ("tls", "http")),
    ]
    assert (service.auto_stop, service.auto_start, service.concurrency.soft_limit) == ("stop", True, 20)


def test_the_defaults_are_those_of_fly(tmp_path: Path) -> None:
    """F-5.8, F-5.27, F-5.37, F-9.2."""
    fly_toml = "[http_service]\n"

    machine, (service,) = _machine(tmp_path, fly_toml), _fly(tmp_path, fly_toml).services

    assert (machine.internal_port, machine.memory_mb, machine.group) == (8080, 256, "app")
    assert (machine.kill_signal, machine.kill_timeout_seconds, machine.checks) == ("SIGINT", 5.0, ())
    assert (service.auto_stop, service.auto_start, service.min_machines_running) == ("off", True, 0)
    assert (service.concurrency.type, service.concurrency.hard_limit) == ("connections", None)


@pytest.mark.parametrize(
    ("lines", "check"),
    [
        ("", Check("http")),
        ('path = "/up"\nmethod = "head"', Check("http", path="/up", method="HEAD")),
        ('type = "tcp"', Check("tcp")),
        (
            'headers = { A = "1", B = ["2", "3"] }',
            Check("http", headers=(("A", "1"), ("B", "2"), ("B", "3"))),
        ),
        ("headers = []", Check("http")),
        # F-5.20: milliseconds unless a unit is given.
        ("interval = 10000\ntimeout = 2000", Check("http", interval_seconds=10.0, timeout_seconds=2.0)),
        ('interval = "10000"', Check("http", interval_seconds=10.0)),
        ('interval = "1m"\ntimeout = "1.5s"', Check("http", interval_seconds=60.0, timeout_seconds=1.5)),
        ('grace_period = "1m0s"', Check("http", grace_seconds=60.0)),
        # F-5.21: clamped to 1 s and 60 s, but no grace is none.
        ('interval = "500ms"\ntimeout = "2h"', Check("http", interval_seconds=1.0, timeout_seconds=60.0)),
        ("grace_period = 1", Check("http", grace_seconds=1.0)),
        ("grace_period = 0", Check("http", grace_seconds=0.0)),
    ],
)
def test_a_check_of_the_http_service_is_read(tmp_path: Path, lines: str, check: Check) -> None:
    """F-5.20 to F-5.22."""
    assert _machine(tmp_path, f"[http_service]\n[[http_service.checks]]\n{lines}\n").checks == (check,)


def test_durations_that_fly_changes_are_warned_of(tmp_path: Path) -> None:
    """F-5.21, F-5.37."""
    fly_toml = 'kill_timeout = 301\n[http_service]\n[[http_service.checks]]\ntimeout = 5\ninterval = "61s"\n'

    assert _warnings(tmp_path, fly_toml) == [
        "fly.toml:1: kill_timeout is 301s; Fly makes it 300s",
        "fly.toml:4: http_service.checks[0].timeout is 5ms; Fly makes it 1s",
        "fly.toml:5: http_service.checks[0].interval is 61s; Fly makes it 60s",
    ]


def test_services_bring_their_checks_and_later_ones_their_port(tmp_path: Path) -> None:
    fly_toml = """\
        [[services]]
          internal_port = 3000
          [[services.tcp_checks]]
          [[services.http_checks]]
            path = "/up"
          [[services.ports]]
            port = 443
            handlers = ["tls", "http"]
        [[services]]
          internal_port = "4000"
          [[services.tcp_checks]]
          [services.ports]
            port = "80"
            handlers = ["http"]
        """

    assert _machine(tmp_path, fly_toml).internal_port == 3000
    assert _machine(tmp_path, fly_toml).checks == (
        Check("http", path="/up"),
        Check("tcp"),
        Check("tcp", port=4000),
    )
    assert _warnings(tmp_path, fly_toml) == []


def test_top_level_checks_do_not_count(tmp_path: Path) -> None:
    """F-5.17: they never affect routing, and leaving them out is what the proxy does, so nothing is said."""
    fly_toml = '[http_service]\n[checks.up]\ntype = "tcp"\nport = 5500\n'

    assert _machine(tmp_path, fly_toml).checks == ()
    assert _warnings(tmp_path, fly_toml) == []


@pytest.mark.parametrize(
    ("vm", "megabytes"),
    [
        ('memory = "512mb"', 512),
        ('memory = "2GB"', 2048),
        ("memory = 1024", 1024),
        ('memory = "1024"', 1024),
        ("memory_mb = 768", 768),
        ('size = "shared-cpu-2x"', 512),
        ('size = "performance-1x"', 2048),
        ('size = "shared-cpu-8x"\nmemory = "256mb"', 256),
        ('size = "a100"', 256),
        ('memory = "512mb"\nprocesses = ["other"]', 256),
    ],
)
def test_memory_is_read_as_fly_reads_it(tmp_path: Path, vm: str, megabytes: int) -> None:
    assert _machine(tmp_path, f"[http_service]\n[[vm]]\n{vm}\n").memory_mb == megabytes


def test_machines_are_of_the_group_that_the_service_is_for(tmp_path: Path) -> None:
    """F-9.15."""
    fly_toml = """\
        [http_service]
          internal_port = 3000
          processes = ["web"]
        [[services]]
          internal_port = 5000
          processes = ["worker"]
          [[services.ports]]
            port = 5000
            handlers = ["http"]
        [processes]
          worker = "work"
          web = "serve it"
        [[vm]]
          memory = "1gb"
        [[vm]]
          memory = "2gb"
          processes = ["web"]
        """

    machine = _machine(tmp_path, fly_toml)

    assert (machine.group, machine.internal_port, machine.memory_mb) == ("web", 3000, 2048)
    assert machine.command == ("serve",)  # flysim.toml's own comes first
    assert _warnings(tmp_path, fly_toml) == [
        'fly.toml:11: the process group "worker" is not started: every machine here is of "web"'
    ]


@pytest.mark.parametrize(
    ("fly_toml", "warning"),
    [
        ('[http_service]\n[[statics]]\nguest_path = "/a"\n', "fly.toml:2: [[statics]] is not emulated"),
        ('[http_service]\n[mounts]\nsource = "a"\n', "fly.toml:2: [mounts] is not emulated"),
        ("[http_service]\nforce_htps = true\n", 'is not known to flysim; did you mean "force_https"?'),
        ("surprise = 1\n[http_service]\n", "fly.toml:1: surprise is not known to flysim"),
        (
            "[http_service.http_options]\nidle_timeout = 600\n",
            "fly.toml:2: http_service.http_options.idle_timeout is not emulated",
        ),
        ("[http_service.concurrency]\nsoft_limit = 5\n", "fly.toml:1: http_service.concurrency is not emulated"),
        (
            "[[services]]\n[[services.ports]]\nport = 5432\n",
            "fly.toml:2: a port without the http handler passes raw TCP, which is not emulated",
        ),
        ('[[services]]\nprotocol = "udp"\n', "fly.toml:2: services[0].protocol is not emulated"),
        (
            'app = "chat"\n',
            "fly.toml: no [http_service] and no [[services]]: on Fly, the proxy could not reach this app",
        ),
        (
            '[http_service]\nprocesses = ["wep"]\n[processes]\nwep2 = "x"\n',
            'fly.toml:3: a service names the process group "wep", which [processes] has not',
        ),
        (
            'primary_region = "ams"\n[http_service]\n[env]\nPRIMARY_REGION = "dfw"\n',
            "fly.toml:4: PRIMARY_REGION in [env] gives way to primary_region",
        ),
    ],
)  # fmt: skip
def test_what_is_not_emulated_is_said_and_no_error(tmp_path: Path, fly_toml: str, warning: str) -> None:
    """F-7.12, F-9.4, F-9.16, F-9.18."""
    assert any(said.endswith(warning) for said in _warnings(tmp_path, fly_toml))


def test_what_asks_for_nothing_is_not_warned_of(tmp_path: Path) -> None:
    fly_toml = """\
        swap_size_mb = 512
        console_command = "x"
        [deploy]
          release_command = "x"
        [build.args]
          A = "x"
        [http_service]
          force_https = false
          auto_stop_machines = false
          auto_start_machines = false
          [http_service.http_options]
        [[vm]]
          size = "shared-cpu-1x"
          gpus = 0
        """

    assert _warnings(tmp_path, fly_toml) == []


@pytest.mark.parametrize(
    ("fly_toml", "problem", "expected"),
    [
        ("app = 3\n", "fly.toml:1:1: app is 3", "a text in quotes"),
        ('primary_region = "mars"\n', 'fly.toml:1:1: primary_region is "mars"', "the code of one region"),
        ('kill_signal = "INT"\n', 'fly.toml:1:1: kill_signal is "INT"', "one of SIGINT, SIGTERM,"),
        (
            'kill_timeout = "soon"\n',
            'fly.toml:1:1: kill_timeout is "soon": not a length of time',
            'a length of time, such as "30s" or 30 (seconds)',
        ),
        (
            # F-7.14
            '[env]\nFLY_REGION = "ams"\n',
            "fly.toml:2:1: env.FLY_REGION is a name that Fly keeps for itself",
            "a variable whose name does not start with FLY_",
        ),
        ("[env]\nA = []\n", "fly.toml:2:1: env.A is an empty list", "a text in quotes"),
        (
            "[http_service]\ninternal_port = 0\n",
            "fly.toml:2:1: http_service.internal_port is 0",
            "a port: a whole number from 1 to 65535",
        ),
        ('[http_service]\nforce_https = "yes"\n', 'http_service.force_https is "yes"', "true or false"),
        (
            '[http_service]\nauto_stop_machines = "maybe"\n',
            'fly.toml:2:1: http_service.auto_stop_machines is "maybe"',
            '"off", "stop" or "suspend"',
        ),
        ("http_service = 3\n", "fly.toml:1:1: http_service is 3", "a table"),
        ("services = 3\n", "fly.toml:1:1: services is 3", "a list: [ ]"),
        (
            "[[http_service.checks]]\n[[http_service.checks]]\ninterval = true\n",
            "fly.toml:3:1: http_service.checks[1].interval is true: not a length of time",
            'a length of time, such as "15s", "500ms" or 2000 (milliseconds)',
        ),
        (
            "[[http_service.checks]]\nheaders = 3\n",
            "fly.toml:2:1: http_service.checks[0].headers is 3",
            'a table of headers, such as { Accept = "text/plain" }',
        ),
        (
            '[[vm]]\nmemory = "lots"\n',
            'fly.toml:2:1: vm[0].memory is "lots"',
            'memory, such as "512mb", "1gb" or 512 (megabytes)',
        ),
        ("[processes]\napp = 3\n", "fly.toml:2:1: processes.app is 3", "a command, such as"),
        ("[http_service\n", "fly.toml:1:14: not TOML: expected ']' at the end of a table declaration", ""),
    ],
)
def test_a_wrong_type_is_an_error_with_its_line(
    tmp_path: Path, fly_toml: str, problem: str, expected: str
) -> None:
    said = problem_of(tmp_path, FLYSIM, fly_toml)

    assert problem in said
    assert expected in said
    assert said.count("fly.toml:") == 1

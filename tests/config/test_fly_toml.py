"""The app's own fly.toml: its values, its warnings and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.config import Check, Config, FlyService, FlyToml, MachineSpec
from simulator.routing.cache.rule import CacheRule, KeyKind
from simulator.routing.service import Autostop, Service, ServicePort
from tests.config.writing import APP, HEAD, load, problem_of

FLYSIM = (
    HEAD + '[apps.chat]\ncommand = "serve"\nfly_toml = "fly.toml"\n[[apps.chat.machines]]\nregion = "ams"\n'
)


_RULE = """\
[[http_service.http_options.replay_cache]]
path_prefix = "/"
ttl_seconds = 10
type = "cookie"
name = "a"
"""
_PORT = "[[services]]\n[[services.ports]]\nport = 5432\n"


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


def test_a_file_written_by_fly_launch_is_read(tmp_path: Path) -> None:
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
    assert _warnings(tmp_path, fly_toml) == []
    (service,) = _fly(tmp_path, fly_toml).services
    # F-9.1, F-9.3
    assert service.ports == (
        ServicePort(80, 80, ("http",), force_https=True),
        ServicePort(443, 443, ("tls", "http")),
    )
    assert (service.autostop, service.autostart, service.soft_limit) == (Autostop.STOP, True, 20)


def test_the_defaults_are_those_of_fly(tmp_path: Path) -> None:
    """X-8, F-9.14, F-5.8, F-5.27, F-5.37, F-9.2."""
    fly_toml = "[http_service]\n"

    machine, (service,) = _machine(tmp_path, fly_toml), _fly(tmp_path, fly_toml).services

    assert (machine.internal_port, machine.memory_mb, machine.group) == (8080, 256, "app")
    assert (machine.kill_signal, machine.kill_timeout_seconds, machine.checks) == ("SIGINT", 5.0, ())
    assert service == FlyService()  # Its defaults are those of simulator.routing.
    assert (service.autostop, service.autostart, service.min_machines_running) == (Autostop.OFF, True, 0)
    assert (service.concurrency_type, service.soft_limit, service.hard_limit) == ("connections", 20, None)


def test_an_app_without_a_fly_toml_has_the_default_service(tmp_path: Path) -> None:
    """F-9.1, F-9.2."""
    app = load(tmp_path, HEAD + APP).apps[0].app

    assert app.services == (Service(),)
    assert (app.services[0].internal_port, app.serves(80), app.serves(443)) == (8080, True, True)


def test_an_app_whose_fly_toml_has_no_service_cannot_be_reached(tmp_path: Path) -> None:
    """F-9.18."""
    app = _load(tmp_path, 'app = "chat"\n').apps[0].app

    assert app.services == ()
    assert not app.serves(80)


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
        # F-5.20: milliseconds without a unit.
        ("interval = 10000\ntimeout = 2000", Check("http", interval_seconds=10.0, timeout_seconds=2.0)),
        ('interval = "10000"', Check("http", interval_seconds=10.0)),
        ('interval = "1m"\ntimeout = "1.5s"', Check("http", interval_seconds=60.0, timeout_seconds=1.5)),
        ('grace_period = "1m0s"', Check("http", grace_seconds=60.0)),
        # F-5.21: clamped to 1 s and 60 s, except a grace period of 0.
        ('interval = "500ms"\ntimeout = "2h"', Check("http", interval_seconds=1.0, timeout_seconds=60.0)),
        ("grace_period = 1", Check("http", grace_seconds=1.0)),
        ("grace_period = 0", Check("http", grace_seconds=0.0)),
    ],
)
def test_a_check_of_the_http_service_is_read(tmp_path: Path, lines: str, check: Check) -> None:
    """F-5.20 to F-5.22."""
    assert _machine(tmp_path, f"[http_service]\n[[http_service.checks]]\n{lines}\n").checks == (check,)


def test_a_duration_that_fly_clamps_is_a_warning(tmp_path: Path) -> None:
    """F-10.16, F-5.21, F-5.37."""
    fly_toml = 'kill_timeout = 301\n[http_service]\n[[http_service.checks]]\ntimeout = 5\ninterval = "61s"\n'

    assert _warnings(tmp_path, fly_toml) == [
        "fly.toml:1: kill_timeout is 301s, which Fly changes to 300s",
        "fly.toml:4: http_service.checks[0].timeout is 5ms, which Fly changes to 1s",
        "fly.toml:5: http_service.checks[0].interval is 61s, which Fly changes to 60s",
    ]


def test_each_service_contributes_its_checks_and_later_ones_their_port(tmp_path: Path) -> None:
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
    assert _warnings(tmp_path, fly_toml) == [
        'fly.toml: machines of "app" have services on ports 3000, 4000, but get only one port each; with {host} in the '
        "command or in an env value, each gets its own address and all its ports"
    ]


def test_top_level_checks_have_no_effect(tmp_path: Path) -> None:
    """F-5.17: they never affect routing, and Fly's proxy ignores them too, so there is no warning."""
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


def test_machines_belong_to_the_group_of_the_first_service(tmp_path: Path) -> None:
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
    assert machine.command == ("serve",)  # The command of flysim.toml takes precedence.
    assert _warnings(tmp_path, fly_toml) == [
        'fly.toml:11: no machine runs the process group "worker"; the configured machines run "web"',
    ]


@pytest.mark.parametrize(
    ("fly_toml", "warning"),
    [
        (
            '[http_service]\n[[statics]]\nguest_path = "/a"\nurl_prefix = "/b"\ntigris_bucket = "c"\n',
            "fly.toml:2: statics[0] is not emulated: files in /a of the bucket c are not served at /b. "
            "The app receives these requests and may replay them; on Fly, requests for existing files never reach "
            "the app",
        ),
        ('[http_service]\n[mounts]\nsource = "a"\n', "fly.toml:2: [mounts] is not emulated"),
        ("[http_service]\nforce_htps = true\n", 'unknown key "http_service.force_htps"; did you mean "force_https"?'),
        ("surprise = 1\n[http_service]\n", 'fly.toml:1: unknown key "surprise"'),
        (
            "[http_service.http_options]\nidle_tmeout = 600\n",
            'fly.toml:2: unknown key "http_service.http_options.idle_tmeout"; did you mean "idle_timeout"?',
        ),
        (
            "[http_service.http_options.response]\nstatus = 600\n",
            'fly.toml:2: unknown key "http_service.http_options.response.status"',
        ),
        (
            "[http_service]\n[http_service.http_options]\ncompress = true\n",
            "fly.toml:3: http_service.http_options.compress is not emulated",
        ),
        (
            "[http_service]\n[http_service.http_options]\nheaders_read_timeout = 5\n",
            "fly.toml:3: http_service.http_options.headers_read_timeout is not emulated",
        ),
        (
            "[http_service]\n[http_service.tls_options]\ndefault_self_signed = true\n",
            "fly.toml:3: http_service.tls_options.default_self_signed is not emulated",
        ),
        (
            '[http_service]\n[http_service.tls_options]\nalpn = ["h2"]\n',
            "fly.toml:3: http_service.tls_options.alpn is not emulated",
        ),
        (
            '[http_service.tls_options]\nversions = ["TLSv1.3"]\n',
            "fly.toml:2: http_service.tls_options.versions is not emulated",
        ),
        (
            '[[services]]\nprotocol = "udp"\n[[services.ports]]\nport = 53\n',
            "fly.toml:2: services[0] is not emulated: it uses UDP",
        ),
        (
            _PORT + 'handlers = ["htpp"]\n',
            'fly.toml:4: services[0].ports[0].handlers: unknown handler "htpp"; did you mean "http"?',
        ),
        (
            _PORT + 'handlers = ["pg_tls"]\n',
            "fly.toml:4: services[0].ports[0].handlers: pg_tls is not emulated; "
            "flysim forwards the client's bytes unchanged",
        ),
        (
            _PORT + 'handlers = ["tls"]\n',
            "fly.toml:4: services[0].ports[0].handlers: tls without http is not emulated; "
            "flysim forwards TLS to the app unchanged",
        ),
        (
            _PORT + 'handlers = ["http", "proxy_proto"]\n',
            "fly.toml:4: services[0].ports[0].handlers: proxy_proto is not emulated together with http",
        ),
        (
            _PORT + "http_options = { idle_timeout = 5 }\n",
            "fly.toml:4: services[0].ports[0].http_options has no effect on a port without the http handler",
        ),
        (
            "[[services]]\nscript_checks = [{}]\n",
            "fly.toml:2: services[0].script_checks is not emulated",
        ),
        (
            '[http_service]\n[[services]]\n[[services.ports]]\nport = 443\nhandlers = ["http"]\n',
            "fly.toml:3: services[0].ports[0]: port 443 is already used by http_service, which gets its connections",
        ),
        (
            'app = "chat"\n',
            "fly.toml: no [http_service] and no [[services]], so the proxy cannot reach this app, as on Fly",
        ),
        (
            '[http_service]\nprocesses = ["wep"]\n[processes]\nwep2 = "x"\n',
            'fly.toml:3: a service uses the process group "wep", which is not in [processes]',
        ),
        (
            'primary_region = "ams"\n[http_service]\n[env]\nPRIMARY_REGION = "dfw"\n',
            "fly.toml:4: PRIMARY_REGION in [env] is overridden by primary_region",
        ),
    ],
)  # fmt: skip
def test_a_setting_that_is_not_emulated_is_a_warning(tmp_path: Path, fly_toml: str, warning: str) -> None:
    """F-7.12."""
    assert any(line.endswith(warning) for line in _warnings(tmp_path, fly_toml))


def test_an_emulated_setting_is_not_a_warning(tmp_path: Path) -> None:
    fly_toml = """\
        statics = []
        [http_service]
          force_https = true
          auto_stop_machines = "suspend"
          auto_start_machines = false
          min_machines_running = 2
          concurrency = { type = "requests", soft_limit = 1, hard_limit = 2 }
          [http_service.http_options]
            h2_backend = true
            idle_timeout = 60
            response = { pristine = true, headers = { Server = false } }
            [[http_service.http_options.replay_cache]]
              path_prefix = "/"
              ttl_seconds = 10
              type = "cookie"
              name = "session"
        [[services]]
          [[services.ports]]
            port = 5432
            handlers = ["proxy_proto"]
            proxy_proto_options = { version = "v2" }
        """
    flysim = FLYSIM.replace("ams = 8080", "ams = { 80 = 0, 5432 = 0 }")

    assert load(tmp_path, flysim, fly_toml).warnings == ()


def test_a_disabled_or_deploy_only_setting_is_not_a_warning(tmp_path: Path) -> None:
    fly_toml = """\
        swap_size_mb = 512
        console_command = "x"
        [deploy]
          release_command = "x"
        [build.args]
          A = "x"
        [http_service]
          force_https = false
          [http_service.http_options]
            compress = false
          [http_service.tls_options]
            default_self_signed = false
        [[vm]]
          size = "shared-cpu-1x"
          gpus = 0
        """

    assert _warnings(tmp_path, fly_toml) == []


@pytest.mark.parametrize(
    ("fly_toml", "problem", "expected"),
    [
        ("app = 3\n", "fly.toml:1:1: app is 3", "a string in quotes"),
        ('primary_region = "mars"\n', 'fly.toml:1:1: primary_region is "mars"', "a Fly region code"),
        ('kill_signal = "INT"\n', 'fly.toml:1:1: kill_signal is "INT"', "one of SIGINT, SIGTERM,"),
        (
            'kill_timeout = "soon"\n',
            'fly.toml:1:1: kill_timeout is "soon": not a duration',
            'a duration, such as "30s" or 30 (seconds)',
        ),
        (
            # F-7.14
            '[env]\nFLY_REGION = "ams"\n',
            "fly.toml:2:1: env.FLY_REGION is a name that Fly reserves",
            "a variable name that does not start with FLY_",
        ),
        ("[env]\nA = []\n", "fly.toml:2:1: env.A is an empty list", "a string in quotes"),
        (
            "[http_service]\ninternal_port = 0\n",
            "fly.toml:2:1: http_service.internal_port is 0",
            "a port from 1 to 65535",
        ),
        ('[http_service]\nforce_https = "yes"\n', 'http_service.force_https is "yes"', "true or false"),
        (
            '[http_service]\nauto_stop_machines = "maybe"\n',
            'fly.toml:2:1: http_service.auto_stop_machines is "maybe"',
            '"off", "stop" or "suspend"',
        ),
        ("http_service = 3\n", "fly.toml:1:1: http_service is 3", "a table"),
        ("services = 3\n", "fly.toml:1:1: services is 3", "a list in brackets: [ ]"),
        (
            "[[http_service.checks]]\n[[http_service.checks]]\ninterval = true\n",
            "fly.toml:3:1: http_service.checks[1].interval is true: not a duration",
            'a duration, such as "15s", "500ms" or 2000 (milliseconds)',
        ),
        (
            "[[http_service.checks]]\nheaders = 3\n",
            "fly.toml:2:1: http_service.checks[0].headers is 3",
            'a table of headers, such as { Accept = "text/plain" }',
        ),
        (
            '[[vm]]\nmemory = "lots"\n',
            'fly.toml:2:1: vm[0].memory is "lots"',
            'a memory size, such as "512mb", "1gb" or 512 (megabytes)',
        ),
        ("[processes]\napp = 3\n", "fly.toml:2:1: processes.app is 3", "a command, such as"),
        ("[http_service.http_options]\nidle_timeout = -1\n", "http_options.idle_timeout is -1", "0 or more"),
        ('[http_service.http_options]\nh2_backend = "yes"\n', 'h2_backend is "yes"', "true or false"),
        (
            # F-4.25
            "[http_service.http_options.response.headers]\nX-A = true\n",
            "fly.toml:2:1: http_service.http_options.response.headers.X-A is true",
            "a string, a list of strings, or false to remove the header",
        ),
        (
            '[http_service.http_options.response.headers]\nA = "a\\nb"\n',
            'fly.toml:2:1: http_service.http_options.response.headers.A is "a\\nb", and a header cannot contain '
            "the control character U+000A",
            "letters, digits, punctuation and spaces of Latin-1; encode other characters",
        ),
        (
            '[http_service.http_options.response.headers]\nX-Price = ["ok", "5 €"]\n',
            'fly.toml:2:1: http_service.http_options.response.headers.X-Price is "5 €", and a header cannot contain '
            '"€" (U+20AC)',
            "letters, digits, punctuation and spaces of Latin-1; encode other characters",
        ),
        (
            '[http_service.http_options.response.headers]\n"X Price" = "5"\n',
            "fly.toml:2:1: http_service.http_options.response.headers.X Price is not a valid header name",
            "letters, digits and hyphens",
        ),
        (
            '[http_service.http_options.response.headers]\nContent-Length = "5"\n',
            "fly.toml:2:1: http_service.http_options.response.headers.Content-Length is set, but the proxy sets "
            "Content-Length itself",
            "another header, or false",
        ),
        (
            '[[services]]\n[[services.ports]]\nport = 80\nhandlers = ["http"]\n'
            '[services.ports.http_options.response.headers]\nconnection = ["close"]\n',
            "fly.toml:6:1: services[0].ports[0].http_options.response.headers.connection is set, but the proxy sets "
            "connection itself",
            "another header, or false",
        ),
        (
            '[http_service]\n[[http_service.checks]]\npath = "/up"\nheaders = { X-A = "a\\r\\nX-B: b" }\n',
            'http_service.checks[0].headers.X-A[0] is "a\\r\\nX-B: b", and a header cannot contain '
            "the control character U+000D",
            "letters, digits, punctuation and spaces of Latin-1; encode other characters",
        ),
        (
            '[http_service]\n[[http_service.checks]]\npath = "/up"\nheaders = { "X: A" = "a" }\n',
            "http_service.checks[0].headers.X: A is not a valid header name",
            "letters, digits and hyphens",
        ),
        (
            '[processes]\n"a\\u0000" = "serve"\n',
            "fly.toml:2:1: processes.a\\x00",
            "text without control characters",
        ),
        (
            "[http_service.http_options.response.headers]\nA = []\n",
            "headers.A is an empty list",
            "or false to",
        ),
        (
            '[http_service.http_options.response.headers]\n"a b" = "c"\n',
            "fly.toml:2:1: http_service.http_options.response.headers.a b is not a valid header name",
            "letters, digits and hyphens",
        ),
        # F-2.4, F-2.19, F-2.20
        (
            _RULE.replace("10", "9"),
            "fly.toml:3:1: http_service.http_options.replay_cache[0].ttl_seconds is 9",
            "10 or more",
        ),
        (_RULE.replace('"cookie"', '"query"'), 'replay_cache[0].type is "query"', '"cookie" or "header"'),
        (
            _RULE.replace('"a"', '""'),
            'replay_cache[0].name is ""',
            "a cookie or header name: letters, digits",
        ),
        (
            _RULE.replace('name = "a"', ""),
            'fly.toml:1:1: http_service.http_options.replay_cache[0]: missing key "name"',
            'name = "NAME", the name of the cookie or header',
        ),
        (
            _RULE.replace('"/"', '"https://a/b"'),
            "http_options.replay_cache[0].path_prefix is \"https://a/b\": 'https://a/b' has a scheme",
            'a path, with or without a host: "/api" or "example.com/api"',
        ),
        (
            _RULE.replace('"/"', '"a:80/b"'),
            "has a port, which is not allowed",
            "a path, with or without a host",
        ),
        (_RULE.replace('"/"', '"a"'), "has no path", "a path, with or without a host"),
        (
            # F-9.3: the deploy fails.
            _PORT + "force_https = true\n",
            "fly.toml:4:1: services[0].ports[0].force_https is set on a port without the http handler",
            'handlers = ["http"]',
        ),
        # F-9.6
        (
            "[[services]]\n[[services.ports]]\nhandlers = []\n",
            "fly.toml:2:1: services[0].ports[0] has no port",
            "either port = 443, or start_port and end_port",
        ),
        (
            "[[services]]\n[[services.ports]]\nstart_port = 1\n",
            "ports[0] has no port",
            "start_port and end_port",
        ),
        (_PORT + "end_port = 6000\n", "ports[0] has both a port and a port range", "either port = 443, or"),
        (
            "[[services]]\n[[services.ports]]\nstart_port = 7000\nend_port = 6000\n",
            "fly.toml:4:1: services[0].ports[0].end_port is 6000",
            "7000 (its start_port) or more",
        ),
        (
            # F-9.13
            _PORT + 'proxy_proto_options = { version = "v3" }\n',
            'services[0].ports[0].proxy_proto_options.version is "v3"',
            '"v1" or "v2"',
        ),
        (
            '[http_service.tls_options]\nversions = ["TLSv1.1"]\n',
            'http_service.tls_options.versions[0] is "TLSv1.1"',
            '"TLSv1.2" or "TLSv1.3"',
        ),
        (
            '[[statics]]\nurl_prefix = "/a"\n[[statics]]\nurl_prefix = "/a"\n',
            'fly.toml:4:1: statics[1].url_prefix: url_prefix "/a" is already used by an earlier [[statics]]',
            "a unique url_prefix",
        ),
        (
            # F-10.15
            "".join(f'[[statics]]\nurl_prefix = "/{number}"\n' for number in range(11)),
            "fly.toml:21:1: the file has 11 [[statics]] tables",
            "at most 10",
        ),
        (
            "[http_service\n",
            "fly.toml:1:14: invalid TOML: expected ']' at the end of a table declaration",
            "",
        ),
    ],
)
def test_an_invalid_value_is_an_error_with_its_line(
    tmp_path: Path, fly_toml: str, problem: str, expected: str
) -> None:
    message = problem_of(tmp_path, FLYSIM, fly_toml)

    assert problem in message
    assert expected in message
    assert message.count("fly.toml:") == 1


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("true", Autostop.STOP),
        ("false", Autostop.OFF),
        ('"off"', Autostop.OFF),
        ('"stop"', Autostop.STOP),
        ('"suspend"', Autostop.SUSPEND),
    ],
)
def test_autostop_is_a_string_or_a_boolean(tmp_path: Path, written: str, read: Autostop) -> None:
    """F-5.35."""
    fly_toml = f"[http_service]\nauto_stop_machines = {written}\n"

    assert _fly(tmp_path, fly_toml).services[0].autostop is read


@pytest.mark.parametrize("prefix", ["/", "/api", "/api/", "/api/*", "example.com/api", "example.com/api/*"])
def test_a_cache_rule_has_a_path_and_an_optional_host(tmp_path: Path, prefix: str) -> None:
    """F-2.20."""
    (service,) = _fly(tmp_path, _RULE.replace('"/"', f'"{prefix}"')).services

    assert service.ports[0].http.cache_rules == (CacheRule(prefix, 10, KeyKind.COOKIE, "a"),)


def test_cache_rules_of_a_services_port_apply_to_that_port_only(tmp_path: Path) -> None:
    """F-2.18: `[[services.ports.http_options.replay_cache]]`."""
    fly_toml = """\
        [[services]]
          [[services.ports]]
            port = 80
            handlers = ["http"]
            [[services.ports.http_options.replay_cache]]
              path_prefix = "/"
              ttl_seconds = 3600
              type = "header"
              name = "X-Session"
              allow_bypass = true
          [[services.ports]]
            port = 443
            handlers = ["tls", "http"]
        """

    plain, secure = _fly(tmp_path, fly_toml).services[0].ports

    assert plain.http.cache_rules == (CacheRule("/", 3600, KeyKind.HEADER, "X-Session", allow_bypass=True),)
    assert secure.http.cache_rules == ()


def test_force_https_applies_to_the_plain_http_port_only(tmp_path: Path) -> None:
    """F-9.1, F-9.3."""
    (service,) = _fly(tmp_path, "[http_service]\nforce_https = true\n").services

    assert [(port.start, port.force_https) for port in service.ports] == [(80, True), (443, False)]


def test_a_service_without_a_group_belongs_to_the_default_group(tmp_path: Path) -> None:
    """F-9.15: as in flyctl, "app", otherwise the first by name."""
    groups = [
        "[processes]\nzoo = 'z'\nbar = 'b'\n",
        "[processes]\nbar = 'b'\napp = 'a'\n",
        "[processes]\nzoo = 'z'\n",
        "",
    ]

    read = [_fly(tmp_path, "[http_service]\n" + processes).services[0].groups for processes in groups]

    assert read == [("bar",), ("app",), (), ()]


def test_a_port_may_belong_to_a_different_service_for_each_group(tmp_path: Path) -> None:
    """F-9.15."""
    fly_toml = "".join(
        f'[[services]]\ninternal_port = {port}\nprocesses = ["{group}"]\n[[services.ports]]\nport = 80\n'
        'handlers = ["http"]\n'
        for port, group in ((3000, "a"), (4000, "b"))
    )

    config = _load(tmp_path, fly_toml + "[processes]\na = 'a'\nb = 'b'\n")

    app = config.apps[0].app
    found = [app.find_service(80, group) for group in ("a", "b", "c")]
    assert [service and service.internal_port for service in found] == [3000, 4000, None]
    assert not any("already used" in warning for warning in config.warnings)


def test_a_udp_service_is_not_routed(tmp_path: Path) -> None:
    config = _load(
        tmp_path, '[http_service]\n[[services]]\nprotocol = "udp"\n[[services.ports]]\nport = 53\n'
    )

    assert [service.protocol for service in _fly(tmp_path, "[http_service]\n").routed_services] == ["tcp"]
    assert not config.apps[0].app.serves(53)


def test_a_port_without_an_edge_is_a_warning_if_a_machine_serves_it(tmp_path: Path) -> None:
    fly_toml = """\
        [http_service]
          processes = ["web"]
        [[services]]
          processes = ["web"]
          internal_port = 8080
          [[services.ports]]
            start_port = 5000
            end_port = 5010
            handlers = ["http"]
        [[services]]
          processes = ["other"]
          [[services.ports]]
            port = 6000
        """

    assert _warnings(tmp_path, fly_toml) == [
        "fly.toml:6: no edge serves port 5000 to 5010; add it under [edges]: ams = { 80 = 8080, 5000 = 5000 }"
    ]


def test_a_machine_without_a_service_need_not_listen(tmp_path: Path) -> None:
    """F-5.23, F-9.15."""
    web, worker = (
        '[http_service]\nprocesses = ["web"]\n',
        '[http_service]\nprocesses = ["web"]\n[processes]\nworker = "w"\n',
    )
    grouped = FLYSIM + 'group = "worker"\n'

    assert _machine(tmp_path, web).listens
    assert not load(tmp_path, grouped, worker).machines[0].listens
    assert not _machine(tmp_path, 'app = "chat"\n').listens  # F-9.18
    assert load(tmp_path, HEAD + APP).machines[0].listens

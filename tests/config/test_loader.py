"""Valid flysim.toml files and the configuration that they produce."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from simulator.config import Config, PathSource, load_config, parse_config
from simulator.errors import InputError
from simulator.routing.options import RoutingOptions
from tests.config.writing import APP, HEAD, load, write

INTERFACE_EXAMPLE = """\
version = 1

[edges]                      # where clients connect; 0 is any free port. Plain HTTP and TLS on the same port
ams = 8080
dfw = 8081

[apps.chat]
fly_toml = "fly.toml"        # the app's own file, read for everything the proxy needs
command = ["python", "-m", "sample_app"]   # placeholders such as {host} and {port} are replaced
# or: image = "chat:latest"  # docker backend: one container per machine
# or, per machine: url = "http://127.0.0.1:4000"    # a server that already runs
org = "personal"
network = "default"

[[apps.chat.machines]]
region = "ams"
id = "d8dd626f379508"        # 14 hex digits; generated from the seed if omitted

[[apps.chat.machines]]
region = "dfw"
count = 2

[proxy]                      # proxy behavior that Fly does not document
"""


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    config = load(tmp_path, INTERFACE_EXAMPLE, 'app = "chat"\nprimary_region = "ams"\n[http_service]\n')

    assert dict(config.edges) == {"ams": 8080, "dfw": 8081}
    assert [machine.name for machine in config.machines] == ["ams-1", "dfw-1", "dfw-2"]
    assert config.machines[0].id == "d8dd626f379508"
    assert config.machines[0].command == ("python", "-m", "sample_app")
    assert {machine.primary_region for machine in config.machines} == {"ams"}
    assert (config.control_port, config.routing, config.folder) == (4280, RoutingOptions(), tmp_path)
    assert config.warnings == ()


def test_the_demo_of_this_repository_is_read_without_a_warning() -> None:
    config = load_config(Path(__file__).parents[2] / "flysim.toml")

    assert [(machine.name, machine.id) for machine in config.machines] == [
        ("ams-1", "d8dd626f379508"),
        ("dfw-1", "286533db064e58"),
        ("dfw-2", "4d891ee9b43e08"),
    ]
    assert all(machine.has_own_address for machine in config.machines)
    assert config.machines[0].checks[0].path == "/healthz"
    assert config.warnings == ()


def test_generated_ids_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    """F-7.3: 14 lower-case hex digits."""
    path = write(tmp_path, HEAD + APP + "count = 3\n")

    ids, again, others = (
        [machine.id for machine in load_config(path, seed=seed).machines] for seed in (0, 0, 1)
    )

    assert ids == again
    assert len({*ids, *others}) == 6
    assert all(re.fullmatch("[0-9a-f]{14}", machine_id) for machine_id in ids)


def test_a_generated_id_never_equals_a_configured_one(tmp_path: Path) -> None:
    generated_id = load(tmp_path, HEAD + APP).machines[0].id
    text = HEAD + APP + f'[[apps.chat.machines]]\nregion = "ams"\nid = "{generated_id}"\n'

    first, second = load(tmp_path, text).machines

    assert second.id == generated_id
    assert first.id != generated_id


def test_machines_are_numbered_by_region_within_each_app(tmp_path: Path) -> None:
    text = """\
        version = 1
        edges = { ams = 0 }
        [apps.one]
        command = "serve"
        machines = [{ region = "dfw" }, { region = "ams" }, { region = "dfw", count = 2 }]
        [apps.two]
        command = "serve"
        machines = [{ region = "dfw" }]
        """

    names = [(machine.app, machine.name) for machine in load(tmp_path, text).machines]

    assert names == [("one", "dfw-1"), ("one", "ams-1"), ("one", "dfw-2"), ("one", "dfw-3"), ("two", "dfw-1")]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("\"python -m app --title 'a b'\"", ("python", "-m", "app", "--title", "a b")),
        ('["python", "-m", "app"]', ("python", "-m", "app")),
        ('"{python} -m app {port}"', ("{python}", "-m", "app", "{port}")),
    ],
)
def test_a_command_is_a_list_or_a_string(tmp_path: Path, written: str, read: tuple[str, ...]) -> None:
    text = HEAD + f'[apps.chat]\ncommand = {written}\nmachines = [{{ region = "ams" }}]\n'

    assert load(tmp_path, text).machines[0].command == read


def test_env_of_flysim_toml_overrides_env_of_fly_toml(tmp_path: Path) -> None:
    text = HEAD + APP.replace(
        '["serve"]', '"serve"\nfly_toml = "fly.toml"\nenv = { B = 2, C = true, D = "{port}" }'
    )

    config = load(tmp_path, text, '[env]\nA = "1"\nB = "1"\n[http_service]\n')

    assert dict(config.machines[0].env) == {"A": "1", "B": "2", "C": "true", "D": "{port}"}


def test_every_option_of_the_proxy_can_be_set(tmp_path: Path) -> None:
    text = "[proxy]\nno_candidate_status = 503\nreplay_error_seconds = 1\nlenient_region_list = true\n"

    routing = load(tmp_path, HEAD + APP + text).routing

    assert routing == RoutingOptions(
        no_candidate_status=503, replay_error_seconds=1.0, lenient_region_list=True
    )


def test_string_table_and_list_options_can_be_set_too(tmp_path: Path) -> None:
    """K-7, K-13, K-27, K-29."""
    text = """\
[proxy]
timeout_without_unit = "milliseconds"
websocket_replay = "only_101"
cache_refusal = 0.25
aliases = { africa = ["jnb"], eu = ["ams", "fra"] }
cross_network_replays = ["personal"]
"""

    routing = load(tmp_path, HEAD + APP + text).routing

    assert routing == RoutingOptions(
        timeout_without_unit="milliseconds",
        websocket_replay="only_101",
        cache_refusal=0.25,
        aliases={"africa": ("jnb",), "eu": ("ams", "fra")},
        cross_network_replays=("personal",),
    )


@pytest.mark.parametrize("option", dataclasses.fields(RoutingOptions), ids=lambda option: option.name)
def test_each_option_is_a_key_that_accepts_its_default(
    tmp_path: Path, option: dataclasses.Field[Any]
) -> None:
    default = getattr(RoutingOptions(), option.name)
    data = {"edges": {"ams": 0}, "apps": {"chat": {"command": "serve", "machines": [{"region": "ams"}]}}}

    config = parse_config({**data, "proxy": {option.name: default}}, tmp_path, PathSource(Path("x.yaml")))

    assert config.routing == RoutingOptions()


@pytest.mark.parametrize(
    ("edge", "main", "extra"),
    [
        ("8080", 8080, {}),
        ("{ 80 = 8080, 9090 = 9190 }", 8080, {9090: 9190}),
        ("{ 443 = 8443, 5432 = 0 }", 8443, {5432: 0}),
        # One port serves plain HTTP and TLS.
        ("{ 80 = 8080, 443 = 8080 }", 8080, {}),
        ("{ 80 = 8080, 443 = 8443 }", 8080, {443: 8443}),
        ("{ 9090 = 9190 }", 0, {9090: 9190}),
    ],
)
def test_an_edge_may_serve_additional_public_ports(
    tmp_path: Path, edge: str, main: int, extra: dict[int, int]
) -> None:
    config = load(tmp_path, (HEAD + APP).replace("8080", edge))

    assert dict(config.edges) == {"ams": main}
    assert dict(config.extra_ports) == {("ams", public): port for public, port in extra.items()}


def test_public_ports_of_an_inline_configuration_may_be_integers(tmp_path: Path) -> None:
    app = {"command": "serve", "machines": [{"region": "ams"}]}
    data = {"edges": {"ams": {80: 0, 9090: 0}}, "apps": {"chat": app}}

    config = parse_config(data, tmp_path, PathSource(Path("chat.yaml")))

    assert dict(config.extra_ports) == {("ams", 9090): 0}


def test_an_edge_port_that_no_app_serves_is_a_warning(tmp_path: Path) -> None:
    config = load(tmp_path, (HEAD + APP).replace("8080", "{ 80 = 0, 9090 = 0 }"))

    assert config.warnings == (
        f"{tmp_path}/flysim.toml:3: edges.ams.9090: no app has a service on port 9090",
    )


def test_an_organization_without_an_app_is_a_warning(tmp_path: Path) -> None:
    text = HEAD + APP.replace('["serve"]', '"serve"\nreplay_sources = ["personal", "acme"]')

    config = load(tmp_path, text + '[proxy]\ncross_network_replays = ["personl"]\n')

    warnings = [warning.replace(f"{tmp_path}/", "") for warning in config.warnings]
    assert warnings == [
        'flysim.toml:6: apps.chat.replay_sources[1] is "acme", but no app belongs to that organization',
        'flysim.toml:10: proxy.cross_network_replays[0] is "personl", but no app belongs to that organization',
    ]


def test_machines_run_the_command_of_their_process_group(tmp_path: Path) -> None:
    """F-9.15; a command in flysim.toml applies to every group."""
    fly_toml = '[http_service]\nprocesses = ["web"]\n[processes]\nweb = "serve it"\nworker = "work"\n'
    rows = 'region = "ams"\n[[apps.chat.machines]]\nregion = "ams"\ngroup = "worker"\n'
    text = HEAD + f'[apps.chat]\nfly_toml = "fly.toml"\n[[apps.chat.machines]]\n{rows}'

    config = load(tmp_path, text, fly_toml)
    with_command = load(tmp_path, text.replace("fly_toml =", 'command = "mine"\nfly_toml ='), fly_toml)

    assert [(m.name, m.group, m.command) for m in config.machines] == [
        ("ams-1", "web", ("serve", "it")),
        ("ams-2", "worker", ("work",)),
    ]
    assert [(m.group, m.command) for m in with_command.machines] == [
        ("web", ("mine",)),
        ("worker", ("mine",)),
    ]
    assert config.warnings == ()


def test_a_server_that_already_runs_needs_no_command(tmp_path: Path) -> None:
    text = HEAD + '[apps.chat]\n[[apps.chat.machines]]\nregion = "ams"\nurl = "http://127.0.0.1:4000"\n'

    machine = load(tmp_path, text).machines[0]

    assert (machine.url, machine.command) == ("http://127.0.0.1:4000", ())


def test_all_other_app_settings_are_kept(tmp_path: Path) -> None:
    text = HEAD + APP.replace(
        '["serve"]', '"serve"\norg = "o"\nnetwork = "n"\nreplay_sources = ["o"]\nhostnames = ["Chat.Example"]'
    )

    app = load(tmp_path, text + "[control]\nport = 0\n").apps[0].app

    assert (app.org, app.network, app.hostnames) == ("o", "n", ("chat.example",))
    assert app.replay_sources == ("o",)


def test_an_inline_configuration_needs_no_version(tmp_path: Path) -> None:
    machines = [{"region": "ams"}, {"region": "dfw", "count": 2}]
    data = {"edges": {"ams": 0}, "apps": {"chat": {"command": "serve", "machines": machines}}}

    config = parse_config(data, tmp_path, PathSource(Path("chat.yaml")))

    assert [machine.name for machine in config.machines] == ["ams-1", "dfw-1", "dfw-2"]
    assert config.machines[0].cwd == tmp_path
    assert config.path is None


def test_a_different_app_name_in_fly_toml_is_a_warning(tmp_path: Path) -> None:
    text = HEAD + APP.replace('["serve"]', '"serve"\nfly_toml = "fly.toml"')

    config = load(tmp_path, text, 'app = "chat-prod"\n[http_service]\n')

    where = f"{tmp_path}/fly.toml"
    assert config.warnings == (
        f'{where}: app = "chat-prod" is ignored; {tmp_path}/flysim.toml names the app "chat"',
    )


# Which file is loaded.

FLY_ALONE = 'app = "chat"\nprimary_region = "ams"\n[processes]\nweb = "serve --port 3000"\n'
SERVICE = "[http_service]\ninternal_port = 3000\n"


def _in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(folder)
    return load_config()


def test_flysim_toml_takes_precedence_over_fly_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, HEAD + APP)
    write(tmp_path, "this is no TOML", "fly.toml")

    config = _in(tmp_path, monkeypatch)

    assert (config.path, config.folder) == (Path("flysim.toml"), tmp_path)


def test_fly_toml_alone_configures_one_machine_in_the_primary_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, FLY_ALONE + SERVICE, "fly.toml")

    config = _in(tmp_path, monkeypatch)

    assert dict(config.edges) == {"ams": 8080}
    (machine,) = config.machines
    assert (machine.app, machine.name, machine.command) == ("chat", "ams-1", ("serve", "--port", "3000"))
    assert (machine.internal_port, machine.group) == (3000, "web")


def test_a_folder_loads_the_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, FLY_ALONE + SERVICE, "fly.toml")

    assert load_config(tmp_path).machines[0].app == "chat"


def test_an_empty_folder_is_an_error_that_suggests_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no flysim\.toml and no fly\.toml in") as caught:
        _in(tmp_path, monkeypatch)

    assert "`flysim init`" in str(caught.value)
    assert "`flysim demo`" in str(caught.value)


def test_fly_toml_alone_uses_a_free_port_if_its_own_is_unavailable(tmp_path: Path) -> None:
    """Ports below 1024 are privileged; 8080 and 4280 are the defaults of the edge and the control API."""
    ports = "".join(
        f'[[services.ports]]\nport = {port}\nhandlers = ["http"]\n' for port in (25, 8080, 4280, 9090)
    )
    write(tmp_path, FLY_ALONE + "[[services]]\n" + ports, "fly.toml")

    config = load_config(tmp_path)

    assert {public: port for (_, public), port in config.extra_ports.items()} == {
        25: 0,
        8080: 0,
        4280: 0,
        9090: 9090,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('app = "chat"\n[processes]\napp = "serve"\n', 'fly.toml:1:1: missing key "primary_region"'),
        ('app = "chat"\nprimary_region = "ams"\n', "fly.toml: no command to start a machine"),
    ],
)
def test_a_fly_toml_that_is_not_enough_alone_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    write(tmp_path, text, "fly.toml")

    with pytest.raises(InputError) as caught:
        _in(tmp_path, monkeypatch)

    assert str(caught.value).startswith(problem)
    assert "`flysim init`" in str(caught.value)


def test_the_start_timeout_of_an_app_applies_to_its_machines(tmp_path: Path) -> None:
    text = "version = 1\n[edges]\nams = 0\n[apps.a]\ncommand = 'x'\n{}[[apps.a.machines]]\nregion = 'ams'\n"
    write(tmp_path, text.format("start_timeout = '2m'\n"))
    assert load_config(tmp_path).machines[0].start_timeout_seconds == 120.0
    assert load_config(tmp_path).apps[0].start_timeout_seconds == 120.0
    write(tmp_path, text.format(""))
    assert load_config(tmp_path).machines[0].start_timeout_seconds == 30.0

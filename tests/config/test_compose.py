"""Compose files: which services are machines, and the error messages with their positions."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from simulator.config.compose.reader import (
    ComposeFile,
    config_from_machines,
    machine_from_labels,
    project_name,
    read_compose,
)
from simulator.config.model import Config
from simulator.errors import InputError
from tests.config.test_wrong_input import REGIONS
from tests.config.writing import load

ROOT = Path(__file__).parents[2]
AMS, DFW, DFW_2 = "d8dd626f379508", "286533db064e58", "4d891ee9b43e08"
FLY = """
app = "streams"
primary_region = "ams"
kill_signal = "SIGTERM"
[http_service]
internal_port = 3000
[[http_service.checks]]
path = "/healthz"
[[vm]]
memory = "512mb"
"""
BASE = """\
version = 1
edges = { ams = 9000 }
[apps.streams]
fly_toml = "fly.toml"
command = "serve"
machines = [{ region = "ams" }]
[apps.api]
command = "serve"
machines = [{ region = "ams" }]
"""


def read(folder: Path, text: str, base: Config | None = None, **variables: str) -> ComposeFile:
    path = folder / "compose.yml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return read_compose(path, base, variables)


def problem_of(folder: Path, text: str, base: Config | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text, base)
    return str(caught.value).replace(f"{folder}/", "")


def services(*lines: str) -> str:
    """A file with one service with these lines, indented by four, starting on line 3."""
    return "services:\n  one:\n" + "".join(f"    {line}\n" for line in lines)


def test_the_demo_has_three_machines_and_a_service_with_ids_from_the_engine() -> None:
    file = read_compose(ROOT / "docker-compose.yml", None, {})

    assert file.project == "flysim"
    assert [(m.id, m.name, m.app, m.region, m.internal_port, m.lookup) for m in file.machines] == [
        (AMS, "ams-1", "streams", "ams", 8080, "ams-1"),
        (DFW, "dfw-1", "streams", "dfw", 8080, "dfw-1"),
        (DFW_2, "dfw-2", "streams", "dfw", 8080, "dfw-2"),
    ]
    assert file.services_without_id == ("dfw",)
    assert all(machine.is_external for machine in file.machines)


LABELS = {
    "mapping": "labels: {fly.region: ams, fly.machine_id: d8dd626f379508, fly.internal_port: 3000}",
    "list": "labels: [fly.region=ams, fly.machine_id=d8dd626f379508, fly.internal_port=3000]",
    "texts": "labels: {fly.region: 'ams', fly.machine_id: \"d8dd626f379508\", fly.internal_port: '3000'}",
    "variables": "labels: {fly.region: '${REGION}', fly.machine_id: '${ID:-d8dd626f379508}', "
    "fly.internal_port: '${PORT:-3000}'}",
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_are_read_in_every_form_that_compose_allows(labels: str, tmp_path: Path) -> None:
    (machine,) = read(tmp_path, services("image: web", labels), REGION="ams").machines

    assert (machine.id, machine.region, machine.internal_port, machine.image) == (AMS, "ams", 3000, "web")


def test_an_id_of_digits_only_stays_unchanged(tmp_path: Path) -> None:
    text = services("labels: {fly.region: ams, fly.machine_id: 12345678901234}")

    assert read(tmp_path, text).machines[0].id == "12345678901234"


@pytest.mark.parametrize("name", [AMS, "411ed5e307e2"])
def test_without_a_label_a_host_name_can_be_the_id(name: str, tmp_path: Path) -> None:
    file = read(tmp_path, services("labels: {fly.region: ams}", f"hostname: {name}"))

    assert (file.machines[0].id, file.services_without_id) == (name, ())


def test_merge_keys_and_anchors_contribute_their_labels(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        f"""
        x-labels: &labels {{fly.app: chat, fly.internal_port: "3000"}}
        x-machine: &machine
          image: chat
          labels: &dfw {{<<: *labels, fly.region: dfw}}
        services:
          database: {{image: postgres}}
          nothing:
          one: {{<<: *machine, labels: {{<<: *dfw, fly.machine_id: {DFW}}}}}
          two: {{<<: *machine}}
        """,
    )

    (machine,) = file.machines
    assert (machine.app, machine.region, machine.internal_port, machine.image) == (
        "chat",
        "dfw",
        3000,
        "chat",
    )
    assert file.services_without_id == ("two",)


def test_machines_are_named_by_region_and_number_within_their_app(tmp_path: Path) -> None:
    rows = [("ams", "a"), ("dfw", "a"), ("dfw", "b"), ("dfw", "a")]
    lines = [
        f"  s{number}: {{labels: {{fly.region: {region}, fly.app: {app}, fly.machine_id: '{number:014x}'}}}}"
        for number, (region, app) in enumerate(rows)
    ]

    file = read(tmp_path, "\n".join(["services:", *lines]))

    assert [machine.name for machine in file.machines] == ["ams-1", "dfw-1", "dfw-1", "dfw-2"]


def test_without_a_config_every_region_has_an_edge_and_every_app_its_machines(tmp_path: Path) -> None:
    file = read(
        tmp_path,
        f"""
        services:
          b: {{labels: {{fly.region: dfw, fly.machine_id: {DFW}, fly.app: chat}}}}
          a: {{labels: {{fly.region: ams, fly.machine_id: {AMS}}}}}
          c: {{labels: {{fly.region: lhr}}}}
        """,
    )

    config = config_from_machines(file.machines, file)

    assert config.edges == {"dfw": 8080, "ams": 8081, "lhr": 8082}
    assert [(app.app.name, [m.id for m in app.machines]) for app in config.apps] == [
        ("chat", [DFW]),
        ("app", [AMS]),
    ]


def test_without_a_config_every_app_of_the_file_is_included_even_without_a_machine(tmp_path: Path) -> None:
    """flysim may query the engine before any of their containers is created."""
    file = read(
        tmp_path,
        """
        services:
          a: {labels: {fly.region: ams, fly.app: chat}}
          b: {labels: {fly.region: dfw, fly.app: shop, fly.machine_id: 286533db064e58}, deploy: {replicas: 0}}
          c: {labels: {fly.region: ams}}
          d: {image: postgres}
        """,
    )

    config = config_from_machines((), file)

    assert [(app.app.name, app.machines) for app in config.apps] == [("chat", ()), ("shop", ()), ("app", ())]


def test_with_a_config_edges_and_apps_come_from_it_and_machines_from_the_file(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY)
    file = read(tmp_path, services(f"labels: {{fly.region: dfw, fly.machine_id: {DFW}}}"), base)

    config = config_from_machines(file.machines, file, base)

    assert config.edges == {"ams": 9000}
    (machine,) = config.machines
    assert (machine.id, machine.app, machine.internal_port, machine.memory_mb) == (DFW, "streams", 3000, 512)
    assert (machine.command, machine.kill_signal, machine.checks[0].path) == ((), "SIGTERM", "/healthz")


WRONG = {
    "an unknown region": (
        services(f"labels: {{fly.region: amz, fly.machine_id: {AMS}}}"),
        f'compose.yml:3:14: services.one.labels.fly.region is "amz"; did you mean "ams"?\n  expected: {REGIONS}',
    ),
    "an unknown region in a list": (
        services("labels:", "  - fly.region=europe"),
        'compose.yml:4:9: services.one.labels.fly.region is "europe", which is not a Fly region\n'
        f"  expected: {REGIONS}",
    ),
    "an invalid id": (
        services("labels: {fly.region: ams, fly.machine_id: D8DD626F379508}"),
        'compose.yml:3:31: services.one.labels.fly.machine_id is "D8DD626F379508"\n'
        "  expected: a machine id: 14 lower-case hex digits",
    ),
    "an invalid port": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}, fly.internal_port: http}}"),
        'compose.yml:3:63: services.one.labels.fly.internal_port is "http"\n'
        "  expected: a port from 1 to 65535",
    ),
    "an invalid app name": (
        services("labels: {fly.region: ams, fly.app: My_App}"),
        "compose.yml:3:31: services.one.labels.fly.app is not a valid app name\n"
        "  expected: lower-case letters, digits and hyphens, as in <app>.fly.dev",
    ),
    "an unknown label": (
        services("labels: {fly.region: ams, fly.machine-id: x}"),
        "compose.yml:3:31: services.one.labels.fly.machine-id is an unknown label; "
        'did you mean "fly.machine_id"?\n'
        "  expected: one of fly.region, fly.machine_id, fly.app, fly.internal_port",
    ),
    "no region": (
        services(f"labels: {{fly.machine_id: {AMS}}}"),
        "compose.yml:3:14: services.one.labels.fly.machine_id is set without fly.region\n"
        '  expected: the label fly.region as well, such as fly.region: "ams"',
    ),
    "several replicas of one id": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}", "deploy: {replicas: 2}"),
        f"compose.yml:4:14: services.one.deploy.replicas is 2, but all replicas would have the machine id {AMS}\n"
        "  expected: 1, or no fly.machine_id, so that each hostname becomes an id",
    ),
    "several replicas of one id, with scale": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}", "scale: ${N:-3}"),
        f"compose.yml:4:5: services.one.scale is 3, but all replicas would have the machine id {AMS}\n"
        "  expected: 1, or no fly.machine_id, so that each hostname becomes an id",
    ),
    "a duplicate id": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}")
        + f"  two:\n    hostname: {AMS}\n    labels: {{fly.region: dfw}}\n",
        f"compose.yml:5:5: services.two.hostname: machine id {AMS} is already used on line 3\n"
        "  expected: a unique id for each machine",
    ),
    "no machine": (
        services("image: postgres"),
        "compose.yml: no machine in this file: no service has the label fly.region\n"
        '  expected: labels: { fly.region: "ams" } in each service that is a machine',
    ),
    "no services": (
        "name: chat\n",
        'compose.yml:1:1: missing key "services"\n  expected: services: with one service per machine',
    ),
    "labels that are a string": (
        services("labels: ams"),
        'compose.yml:3:5: services.one.labels is "ams"\n  expected: a mapping, or a list of name=value',
    ),
    "a label that is a list": (
        services("labels: {fly.region: [ams]}"),
        "compose.yml:3:14: services.one.labels.fly.region is a list of 1 item\n  expected: a single value",
    ),
    "a service that is a string": (
        "services:\n  one: chat\n",
        'compose.yml:2:3: services.one is "chat"\n  expected: a mapping',
    ),
    "a required variable": (
        services("labels: {fly.region: '${REGION:?}'}"),
        "compose.yml:3:14: services.one.labels.fly.region needs the variable REGION: it is not set\n"
        "  expected: ${NAME} or ${NAME:-default}",
    ),
    "an empty file": (
        "",
        'compose.yml:1:1: missing key "services"\n  expected: services: with one service per machine',
    ),
    "invalid YAML": (
        "services:\n\tone:\n",
        "compose.yml:2:1: invalid YAML: found character '\\t' that cannot start any token, while scanning for the next "
        "token\n  expected: spaces for indentation, because YAML does not allow tabs",
    ),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_an_error_names_its_position_and_what_was_expected(text: str, problem: str, tmp_path: Path) -> None:
    assert problem_of(tmp_path, text).startswith(problem)


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    text = """\
        services:
          one: {labels: {fly.region: amz, fly.machine_id: x}}
          two: {labels: {fly.regio: ams}}
        """
    message = problem_of(tmp_path, text)

    assert [line.partition(" ")[0] for line in message.splitlines() if "compose.yml" in line] == [
        "compose.yml:2:18:",
        "compose.yml:2:35:",
        "compose.yml:3:18:",
        "compose.yml:3:18:",
    ]


def test_an_app_that_is_not_in_the_config_is_an_error(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY)

    message = problem_of(tmp_path, services("labels: {fly.region: ams, fly.app: stream}"), base)

    assert 'services.one.labels.fly.app is "stream"; did you mean "streams"?' in message
    assert "expected: an app of flysim.toml: streams, api" in message


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compose.yml: cannot read the file: No such file"):
        read_compose(tmp_path / "compose.yml")


PROJECTS = {
    "from the file": ("name: chat\n", {}, "chat"),
    "from the file, interpolated": ("name: ${WHO:-me}-chat\n", {"WHO": "you"}, "you-chat"),
    "from the environment, before the file": ("name: chat\n", {"COMPOSE_PROJECT_NAME": "mine"}, "mine"),
    "from the folder, normalized": ("services: {}\n", {}, "my_appno1-"),
}


@pytest.mark.parametrize(("text", "variables", "name"), PROJECTS.values(), ids=PROJECTS)
def test_the_name_of_the_project(text: str, variables: dict[str, str], name: str, tmp_path: Path) -> None:
    folder = tmp_path / "_My_App No.1-"
    folder.mkdir()
    (folder / "compose.yml").write_text(text)

    assert project_name(folder / "compose.yml", variables) == name


def test_variables_come_from_the_env_file_and_the_environment_overrides_it(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# mine\nREGION='ams'\nexport ID=411ed5e307e2\nCOMPOSE_PROJECT_NAME=chat\n"
    )
    text = services("labels: {fly.region: $REGION}", "hostname: $ID")

    file = read(tmp_path, text, ID=AMS)

    assert (file.project, file.machines[0].region, file.machines[0].id) == ("chat", "ams", AMS)


def test_labels_and_host_name_make_a_container_a_machine() -> None:
    first = machine_from_labels({"fly.region": "dfw"}, host_name="411ed5e307e2", image="chat")
    second = machine_from_labels({"fly.region": "dfw"}, host_name="0368f1dd393c", known=[first])

    assert (first.id, first.name, first.app, first.image) == ("411ed5e307e2", "dfw-1", "app", "chat")
    assert (second.id, second.name) == ("0368f1dd393c", "dfw-2")


def test_the_process_group_of_a_container_comes_from_its_environment(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY + '[processes]\nweb = "serve"\nworker = "work"\n')

    machine = machine_from_labels(
        {"fly.region": "ams"}, host_name=AMS, env={"FLY_PROCESS_GROUP": "worker"}, base=base
    )

    assert machine.group == "worker"


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"fly.region": "amz"}, 'the label fly.region is "amz"; did you mean "ams"?'),
        ({"fly.machine_id": AMS}, "the label fly.machine_id is set without fly.region"),
        ({}, "this container is not a machine"),
    ],
)
def test_invalid_labels_of_a_container_are_an_error(labels: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        machine_from_labels(labels, host_name=AMS)
    assert caught.value.problem == problem

"""A Compose file as flysim reads it: which services are machines, and what is wrong with it, line by line."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from simulator.config.compose.reader import (
    ComposeFile,
    config_of_machines,
    machine_of_labels,
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
    """A file with one service whose lines, indented by four, begin on line 3."""
    return "services:\n  one:\n" + "".join(f"    {line}\n" for line in lines)


def test_the_demo_has_three_machines_and_a_service_whose_machines_the_engine_names() -> None:
    file = read_compose(ROOT / "docker-compose.yml", None, {})

    assert file.project == "flysim"
    assert [(m.id, m.name, m.app, m.region, m.internal_port, m.lookup) for m in file.machines] == [
        (AMS, "ams-1", "streams", "ams", 8080, "ams-1"),
        (DFW, "dfw-1", "streams", "dfw", 8080, "dfw-1"),
        (DFW_2, "dfw-2", "streams", "dfw", 8080, "dfw-2"),
    ]
    assert file.unnamed == ("dfw",)
    assert all(machine.is_external for machine in file.machines)


LABELS = {
    "mapping": "labels: {fly.region: ams, fly.machine_id: d8dd626f379508, fly.internal_port: 3000}",
    "list": "labels: [fly.region=ams, fly.machine_id=d8dd626f379508, fly.internal_port=3000]",
    "texts": "labels: {fly.region: 'ams', fly.machine_id: \"d8dd626f379508\", fly.internal_port: '3000'}",
    "variables": "labels: {fly.region: '${REGION}', fly.machine_id: '${ID:-d8dd626f379508}', "
    "fly.internal_port: '${PORT:-3000}'}",
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_labels_are_read_however_compose_lets_them_be_written(labels: str, tmp_path: Path) -> None:
    (machine,) = read(tmp_path, services("image: web", labels), REGION="ams").machines

    assert (machine.id, machine.region, machine.internal_port, machine.image) == (AMS, "ams", 3000, "web")


def test_an_id_of_digits_alone_stays_as_it_is_written(tmp_path: Path) -> None:
    text = services("labels: {fly.region: ams, fly.machine_id: 12345678901234}")

    assert read(tmp_path, text).machines[0].id == "12345678901234"


@pytest.mark.parametrize("name", [AMS, "411ed5e307e2"])
def test_without_a_label_a_host_name_can_be_the_id(name: str, tmp_path: Path) -> None:
    file = read(tmp_path, services("labels: {fly.region: ams}", f"hostname: {name}"))

    assert (file.machines[0].id, file.unnamed) == (name, ())


def test_merge_keys_and_anchors_bring_their_labels_along(tmp_path: Path) -> None:
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
    assert file.unnamed == ("two",)


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

    config = config_of_machines(file.machines, file)

    assert config.edges == {"dfw": 8080, "ams": 8081, "lhr": 8082}
    assert [(app.app.name, [m.id for m in app.machines]) for app in config.apps] == [
        ("chat", [DFW]),
        ("app", [AMS]),
    ]


def test_without_a_config_every_app_of_the_file_is_known_before_it_has_a_machine(tmp_path: Path) -> None:
    """As for a flysim that asks the engine before any container of them is made."""
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

    config = config_of_machines((), file)

    assert [(app.app.name, app.machines) for app in config.apps] == [("chat", ()), ("shop", ()), ("app", ())]


def test_with_a_config_edges_and_apps_are_its_own_and_the_machines_those_of_the_file(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY)
    file = read(tmp_path, services(f"labels: {{fly.region: dfw, fly.machine_id: {DFW}}}"), base)

    config = config_of_machines(file.machines, file, base)

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
        'compose.yml:4:9: services.one.labels.fly.region is "europe", which is no region\n'
        f"  expected: {REGIONS}",
    ),
    "an id that is none": (
        services("labels: {fly.region: ams, fly.machine_id: D8DD626F379508}"),
        'compose.yml:3:31: services.one.labels.fly.machine_id is "D8DD626F379508"\n'
        "  expected: 14 lower-case hex digits in a text",
    ),
    "a port that is none": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}, fly.internal_port: http}}"),
        'compose.yml:3:63: services.one.labels.fly.internal_port is "http"\n'
        "  expected: a port: a whole number from 1 to 65535",
    ),
    "a name for an app that is none": (
        services("labels: {fly.region: ams, fly.app: My_App}"),
        "compose.yml:3:31: services.one.labels.fly.app is no name for an app\n"
        "  expected: lower-case letters, digits and dashes, as in <app>.fly.dev",
    ),
    "a label that is not ours": (
        services("labels: {fly.region: ams, fly.machine-id: x}"),
        "compose.yml:3:31: services.one.labels.fly.machine-id is no label of flysim's; "
        'did you mean "fly.machine_id"?\n'
        "  expected: one of fly.region, fly.machine_id, fly.app, fly.internal_port",
    ),
    "no region": (
        services(f"labels: {{fly.machine_id: {AMS}}}"),
        "compose.yml:3:14: services.one.labels.fly.machine_id stands without fly.region\n"
        '  expected: the label fly.region too, such as fly.region: "ams"',
    ),
    "several of one id": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}", "deploy: {replicas: 2}"),
        f"compose.yml:4:14: services.one.deploy.replicas is 2, and all of them would be machine {AMS}\n"
        "  expected: one, or no fly.machine_id: then each one's host name is its id",
    ),
    "several of one id, in the old way": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}", "scale: ${N:-3}"),
        f"compose.yml:4:5: services.one.scale is 3, and all of them would be machine {AMS}\n"
        "  expected: one, or no fly.machine_id: then each one's host name is its id",
    ),
    "one id twice": (
        services(f"labels: {{fly.region: ams, fly.machine_id: {AMS}}}")
        + f"  two:\n    hostname: {AMS}\n    labels: {{fly.region: dfw}}\n",
        f'compose.yml:5:5: services.two.hostname is "{AMS}", as in line 3\n  expected: another id for each machine',
    ),
    "no machine": (
        services("image: postgres"),
        "compose.yml: no service has the label fly.region, so there is no machine\n"
        '  expected: under each service that is a machine: labels: { fly.region: "ams" }',
    ),
    "no services": (
        "name: chat\n",
        "compose.yml:1:1: there are no services\n  expected: services: with a service for each machine",
    ),
    "labels that are none": (
        services("labels: ams"),
        'compose.yml:3:5: services.one.labels is "ams"\n  expected: a mapping, or a list of name=value',
    ),
    "a label that is a list": (
        services("labels: {fly.region: [ams]}"),
        "compose.yml:3:14: services.one.labels.fly.region is a list of 1\n  expected: a plain value",
    ),
    "a service that is none": (
        "services:\n  one: chat\n",
        'compose.yml:2:3: services.one is "chat"\n  expected: a mapping',
    ),
    "a variable that has to be set": (
        services("labels: {fly.region: '${REGION:?}'}"),
        "compose.yml:3:14: services.one.labels.fly.region needs the variable REGION: it is not set\n"
        "  expected: ${NAME} or ${NAME:-default}",
    ),
    "an empty file": (
        "",
        "compose.yml:1:1: there are no services\n  expected: services: with a service for each machine",
    ),
    "no YAML": (
        "services:\n\tone:\n",
        "compose.yml:2:1: not YAML: found character '\\t' that cannot start any token, while scanning for the next "
        "token\n  expected: spaces: YAML allows no tab for indentation",
    ),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_place(text: str, problem: str, tmp_path: Path) -> None:
    assert problem_of(tmp_path, text).startswith(problem)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = """\
        services:
          one: {labels: {fly.region: amz, fly.machine_id: x}}
          two: {labels: {fly.regio: ams}}
        """
    told = problem_of(tmp_path, text)

    assert [line.partition(" ")[0] for line in told.splitlines() if "compose.yml" in line] == [
        "compose.yml:2:18:",
        "compose.yml:2:35:",
        "compose.yml:3:18:",
        "compose.yml:3:18:",
    ]


def test_an_app_that_the_config_has_not_is_told(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY)

    told = problem_of(tmp_path, services("labels: {fly.region: ams, fly.app: stream}"), base)

    assert 'services.one.labels.fly.app is "stream"; did you mean "streams"?' in told
    assert "expected: an app of flysim.toml: streams, api" in told


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"compose.yml: cannot be read: No such file"):
        read_compose(tmp_path / "compose.yml")


PROJECTS = {
    "the file's": ("name: chat\n", {}, "chat"),
    "the file's, filled in": ("name: ${WHO:-me}-chat\n", {"WHO": "you"}, "you-chat"),
    "the environment's, before the file's": ("name: chat\n", {"COMPOSE_PROJECT_NAME": "mine"}, "mine"),
    "the folder's, as Compose makes it fit": ("services: {}\n", {}, "my_appno1-"),
}


@pytest.mark.parametrize(("text", "variables", "name"), PROJECTS.values(), ids=PROJECTS)
def test_the_name_of_the_project(text: str, variables: dict[str, str], name: str, tmp_path: Path) -> None:
    folder = tmp_path / "_My_App No.1-"
    folder.mkdir()
    (folder / "compose.yml").write_text(text)

    assert project_name(folder / "compose.yml", variables) == name


def test_variables_also_come_from_the_file_beside_it_and_the_environment_wins(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# mine\nREGION='ams'\nexport ID=411ed5e307e2\nCOMPOSE_PROJECT_NAME=chat\n"
    )
    text = services("labels: {fly.region: $REGION}", "hostname: $ID")

    file = read(tmp_path, text, ID=AMS)

    assert (file.project, file.machines[0].region, file.machines[0].id) == ("chat", "ams", AMS)


def test_a_container_is_a_machine_by_its_labels_and_its_host_name() -> None:
    first = machine_of_labels({"fly.region": "dfw"}, host_name="411ed5e307e2", image="chat")
    second = machine_of_labels({"fly.region": "dfw"}, host_name="0368f1dd393c", known=[first])

    assert (first.id, first.name, first.app, first.image) == ("411ed5e307e2", "dfw-1", "app", "chat")
    assert (second.id, second.name) == ("0368f1dd393c", "dfw-2")


def test_the_process_group_of_a_container_is_that_of_its_environment(tmp_path: Path) -> None:
    base = load(tmp_path, BASE, FLY + '[processes]\nweb = "serve"\nworker = "work"\n')

    machine = machine_of_labels(
        {"fly.region": "ams"}, host_name=AMS, env={"FLY_PROCESS_GROUP": "worker"}, base=base
    )

    assert machine.group == "worker"


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ({"fly.region": "amz"}, 'the label fly.region is "amz"; did you mean "ams"?'),
        ({"fly.machine_id": AMS}, "the label fly.machine_id stands without fly.region"),
        ({}, "this container is no machine"),
    ],
)
def test_labels_of_a_container_that_are_wrong_are_told(labels: dict[str, str], problem: str) -> None:
    with pytest.raises(InputError) as caught:
        machine_of_labels(labels, host_name=AMS)
    assert caught.value.problem == problem

"""Stack file for `docker stack deploy`, without an engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from simulator.config import Config, load_config
from simulator.errors import InputError
from simulator.machines.swarm import render_stack, services_of
from simulator.machines.swarm.task_labels import SLOT, fill_in_slot

TOML = """
version = 1
[edges]
ams = 0
[apps.chat]
fly_toml = "fly.toml"
image = "chat:1"
env = { WHO = "{machine_id} in {region}", ODD = "$HOME {{x}}", LISTEN = "{host}:{port}", DNS = "{dns}" }
[[apps.chat.machines]]
region = "ams"
id = "d8dd626f379508"
[[apps.chat.machines]]
region = "dfw"
count = 3
"""
FLY = """
app = "chat"
primary_region = "ams"
kill_signal = "SIGTERM"
kill_timeout = 7
[processes]
app = "serve --fast"
[http_service]
internal_port = 3000
[[vm]]
memory = "512mb"
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_of(tmp_path, TOML)


def config_of(folder: Path, toml: str) -> Config:
    (folder / "flysim.toml").write_text(toml)
    (folder / "fly.toml").write_text(FLY)
    return load_config(folder / "flysim.toml")


def rendered(config: Config, **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(render_stack(services_of(config), **options))
    return document


def test_a_machine_is_a_service_and_a_row_with_count_is_one_service(config: Config) -> None:
    services = rendered(config)["services"]
    assert {name: service["deploy"]["replicas"] for name, service in services.items()} == {
        "chat-ams-1": 1,
        "chat-dfw-1-to-3": 3,
    }


def test_swarms_templates_give_the_ids_of_the_config(config: Config) -> None:
    """F-7.3: the host name is the id."""
    row = rendered(config)["services"]["chat-dfw-1-to-3"]
    ids = [fill_in_slot(row["hostname"], slot) for slot in (1, 2, 3)]
    assert ids == [machine.id for machine in config.machines if machine.region == "dfw"]
    assert all(len(each) == 14 for each in ids)
    assert row["environment"]["FLY_MACHINE_ID"] == row["labels"]["fly.machine_id"] == row["hostname"]


def test_a_service_has_the_environment_of_its_machine_and_settings_of_fly_toml(config: Config) -> None:
    service = rendered(config)["services"]["chat-ams-1"]
    env = service["environment"]
    assert env["FLY_MACHINE_ID"] == service["hostname"] == "d8dd626f379508"
    assert (env["FLY_REGION"], env["FLY_VM_MEMORY_MB"], env["PORT"]) == ("ams", "512", "3000")
    assert (env["WHO"], env["LISTEN"]) == ("d8dd626f379508 in ams", "0.0.0.0:3000")
    assert service["command"] == ["serve", "--fast"]
    assert service["ports"] == [{"target": 3000, "mode": "host", "protocol": "tcp"}]
    assert (service["stop_signal"], service["stop_grace_period"]) == ("SIGTERM", "7000ms")
    deploy = service["deploy"]
    assert deploy["endpoint_mode"] == "dnsrr"
    assert deploy["restart_policy"] == {"condition": "none"}
    assert deploy["resources"] == {"limits": {"memory": "512M"}}
    assert deploy["labels"] == {
        "fly.region": "ams",
        "fly.app": "chat",
        "fly.machine_id": "d8dd626f379508",
        "fly.internal_port": "3000",
    }


def test_neither_docker_nor_swarm_expands_the_apps_own_variables(config: Config) -> None:
    env = rendered(config)["services"]["chat-dfw-1-to-3"]["environment"]
    assert env["ODD"] == '$$HOME {{"{{"}}x}}'
    assert env["WHO"].endswith(f"{SLOT} in dfw")


def test_names_of_the_private_network_are_aliases(config: Config) -> None:
    """F-8.1: the names that can be known before the machine exists."""
    services = rendered(config)["services"]
    names = {name: service["networks"]["default"]["aliases"] for name, service in services.items()}
    assert names["chat-ams-1"] == [
        "chat.internal",
        "ams.chat.internal",
        "app.process.chat.internal",
        "d8dd626f379508.vm.chat.internal",
    ]
    assert names["chat-dfw-1-to-3"] == ["chat.internal", "dfw.chat.internal", "app.process.chat.internal"]


def test_placement_asks_for_a_node_of_the_region(config: Config) -> None:
    assert "placement" not in rendered(config)["services"]["chat-ams-1"]["deploy"]
    placed = rendered(config, placed=True)["services"]["chat-ams-1"]["deploy"]["placement"]
    assert placed == {"constraints": ["node.labels.fly.region == ams"]}


def test_a_large_fleet_has_a_network_with_enough_addresses(tmp_path: Path, config: Config) -> None:
    assert rendered(config)["networks"] == {"default": {"driver": "overlay"}}
    rows = '[[apps.chat.machines]]\nregion = "ord"\ncount = 100\n' * 10
    large = config_of(tmp_path, TOML + rows)
    document = rendered(large)
    assert document["networks"]["default"]["ipam"] == {"config": [{"subnet": "10.224.0.0/21"}]}
    assert sum(service["deploy"]["replicas"] for service in document["services"].values()) == 1004
    assert len(document["services"]) == 12


def test_labels_of_a_run_are_on_everything_that_is_created(config: Config) -> None:
    document = rendered(config, labels={"flysim.added": "me"})
    created = [*document["services"].values(), *document["networks"].values()]
    assert [each["labels"]["flysim.added"] for each in created] == ["me"] * 3
    deployed = [each["deploy"]["labels"]["flysim.added"] for each in document["services"].values()]
    assert deployed == ["me"] * 2


def test_a_long_service_name_stays_a_valid_dns_label(tmp_path: Path) -> None:
    config = config_of(tmp_path, TOML.replace("chat", "a-very-long-name-of-an-app-indeed-it-is-long-enough"))
    assert all(len(name) <= 40 for name in rendered(config)["services"])


def test_an_app_without_an_image_cannot_be_a_stack(tmp_path: Path) -> None:
    config = config_of(tmp_path, TOML.replace('image = "chat:1"', 'command = ["serve"]'))
    with pytest.raises(
        InputError, match=r"machine ams-1 of app chat has no image.*\n.*`image` under \[apps.chat\]"
    ):
        services_of(config)


def test_a_server_that_runs_already_is_not_deployed(config: Config) -> None:
    app = config.apps[0]
    elsewhere = tuple(replace(machine, url="http://127.0.0.1:1") for machine in app.machines)
    assert services_of(replace(config, apps=(replace(app, machines=elsewhere),))) == ()

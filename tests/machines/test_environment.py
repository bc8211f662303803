"""Environment of a machine, F-7.1 to F-7.17."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.backend import Placement
from simulator.machines.environment import machine_command, machine_environment

SPEC = MachineSpec(
    id="d8dd626f379508",
    name="ams-1",
    app="chat",
    region="ams",
    command=("{python}", "-m", "chat"),
    env={"PEERS": "{region}.chat.internal@{dns}", "GREETING": "hello"},
    cwd=Path("/srv"),
    primary_region="dfw",
    memory_mb=512,
)
PLACEMENT = Placement("127.64.1.2", 8080, "::ffff:127.64.1.2")


def environment(spec: MachineSpec = SPEC, **inherited: str) -> dict[str, str]:
    return machine_environment(spec, PLACEMENT, dns_address="127.0.0.1:5353", inherited=inherited)


def command(*arguments: str) -> tuple[str, ...]:
    return machine_command(replace(SPEC, command=arguments), PLACEMENT, dns_address="127.0.0.1:5353")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLY_APP_NAME", "chat"),  # F-7.1
        ("FLY_MACHINE_ID", "d8dd626f379508"),  # F-7.2
        ("FLY_ALLOC_ID", "d8dd626f379508"),  # F-7.4
        ("FLY_REGION", "ams"),  # F-7.5
        ("FLY_PRIVATE_IP", "::ffff:127.64.1.2"),  # F-7.9
        ("FLY_PROCESS_GROUP", "app"),  # F-7.10
        ("FLY_VM_MEMORY_MB", "512"),  # F-7.11
        ("PRIMARY_REGION", "dfw"),  # F-7.12
        ("PORT", "8080"),
    ],
)
def test_the_environment_describes_the_machine(name: str, value: str) -> None:
    assert environment()[name] == value


def test_the_public_address_is_ipv6() -> None:
    """F-7.6"""
    assert IPv6Address(environment()["FLY_PUBLIC_IP"])


def test_the_image_reference_is_a_deployment_of_the_app() -> None:
    """F-7.7"""
    assert re.fullmatch(r"[a-z.]+/chat:deployment-[0-9A-Z]{26}", environment()["FLY_IMAGE_REF"])
    assert environment(replace(SPEC, image="chat:latest"))["FLY_IMAGE_REF"] == "chat:latest"


def test_the_version_is_a_ulid_that_changes_with_the_configuration_only() -> None:
    """F-7.8"""
    version = environment()["FLY_MACHINE_VERSION"]

    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", version)
    assert environment()["FLY_MACHINE_VERSION"] == version
    assert environment(replace(SPEC, memory_mb=1024))["FLY_MACHINE_VERSION"] != version


def test_primary_region_is_absent_without_one() -> None:
    """F-7.15; neither the caller's variable nor that of the app's [env] replaces it (F-7.12)."""
    spec = replace(SPEC, primary_region=None, env={"PRIMARY_REGION": "iad"})

    assert "PRIMARY_REGION" not in environment(spec, PRIMARY_REGION="lhr")


def test_primary_region_overrides_the_apps_own() -> None:
    """F-7.12"""
    assert environment(replace(SPEC, env={"PRIMARY_REGION": "iad"}))["PRIMARY_REGION"] == "dfw"


def test_a_machine_inherits_the_environment_of_the_caller() -> None:
    variables = environment(HOME="/home/me", GREETING="bye", PORT="9")

    assert variables["HOME"] == "/home/me"
    assert variables["GREETING"] == "hello"
    assert variables["PORT"] == "8080"


@pytest.mark.parametrize("name", ["FLY_API_TOKEN", "FLY_REGION_OF_MINE", "FLYSIM_CONTROL"])
def test_fly_variables_of_the_caller_are_not_inherited(name: str) -> None:
    assert name not in environment(**{name: "secret"})


def test_python_output_is_unbuffered_by_default() -> None:
    assert environment()["PYTHONUNBUFFERED"] == "1"
    assert environment(PYTHONUNBUFFERED="")["PYTHONUNBUFFERED"] == ""
    assert environment(replace(SPEC, env={"PYTHONUNBUFFERED": "0"}))["PYTHONUNBUFFERED"] == "0"


def test_placeholders_are_replaced_in_environment_values() -> None:
    assert environment()["PEERS"] == "ams.chat.internal@127.0.0.1:5353"


def test_placeholders_are_replaced_in_the_command() -> None:
    arguments = command("{python}", "--bind={host}:{port}", "{machine_id}/{region}", "{dns}")

    assert arguments == (sys.executable, "--bind=127.64.1.2:8080", "d8dd626f379508/ams", "127.0.0.1:5353")


@pytest.mark.parametrize("word", ['{"port": 1}', "${HOME}", "{", "}", "{}", "{hosts}", "{{", "{0}"])
def test_other_braces_stay_unchanged(word: str) -> None:
    assert command(word) == (word,)


def test_a_replaced_value_is_not_replaced_again() -> None:
    spec = replace(SPEC, command=("{region}",), region="{host}")

    assert machine_command(spec, PLACEMENT, dns_address="") == ("{host}",)

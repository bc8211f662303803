from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.routing import App
from simulator.routing.names import find_addresses, find_texts, is_internal
from tests.routing.build import AMS_1, CHAT_1, DFW_1, DFW_2, fleet, machine, stopped

WORKER = replace(machine(1, "iad"), group="worker", private_ip="fdaa::4")
ASLEEP = stopped(replace(machine(2, "lhr"), private_ip="fdaa::5"))
NAMELESS = machine(3, "ams")  # without a private address
FLEET = fleet(
    AMS_1, DFW_1, DFW_2, WORKER, ASLEEP, NAMELESS, CHAT_1, apps=[App("streams"), App("chat"), App("empty")]
)
ADDRESSES = {
    "fdaa::1": "ams-1",
    "fdaa::2": "dfw-1",
    "fdaa::3": "dfw-2",
    "fdaa::4": "iad-1",
    "fdaa::5": "lhr-2",
}


def find(name: str, near: str = "ams") -> list[str] | None:
    """The names of the machines that an AAAA query returns."""
    addresses = find_addresses(FLEET, name, near)
    return None if addresses is None else [ADDRESSES[address] for address in addresses]


@pytest.mark.parametrize(
    ("name", "machines"),
    [
        ("streams.internal", "ams-1 dfw-1 dfw-2 iad-1"),  # F-8.1
        ("global.streams.internal", "ams-1 dfw-1 dfw-2 iad-1"),  # F-8.6
        ("top1.nearest.of.streams.internal", "ams-1"),  # F-8.2
        ("286533db064e58.vm.streams.internal", "dfw-1"),  # F-8.3
        ("worker.process.streams.internal", "iad-1"),  # F-8.4
        ("app.process.streams.internal", "ams-1 dfw-1 dfw-2"),  # F-8.4
        ("worker.fly_process_group.kv._metadata.streams.internal", "iad-1"),  # F-7.17, F-8.7
        ("red.colour.kv._metadata.streams.internal", ""),  # F-8.7: no machine has such metadata
        ("dfw.streams.internal", "dfw-1 dfw-2"),  # F-8.5
        ("lhr.streams.internal", ""),  # F-8.14: the only machine in lhr is stopped
        ("00000000000002.vm.streams.internal", ""),  # F-8.14
        ("90801679a10038.vm.streams.internal", ""),  # F-8.3: a machine of another app
        ("empty.internal", ""),
        ("Streams.INTERNAL.", "ams-1 dfw-1 dfw-2 iad-1"),
    ],
)
def test_an_aaaa_query_returns_started_machines(name: str, machines: str) -> None:
    """F-8.1 to F-8.6, F-8.14"""
    assert find(name) == machines.split()


def test_nearest_is_relative_to_the_region_of_the_client() -> None:
    """F-8.2"""
    assert find("top3.nearest.of.streams.internal", near="sjc") == ["dfw-1", "dfw-2", "iad-1"]
    assert find("top9.nearest.of.streams.internal", near="lhr") == ["ams-1", "iad-1", "dfw-1", "dfw-2"]


def test_unhealthy_and_cordoned_machines_resolve() -> None:
    """F-8.18: `.internal` ignores the proxy's view of a machine (gallery 36)"""
    troubled = fleet(replace(AMS_1, healthy=False), replace(DFW_1, cordoned=True))
    assert find_addresses(troubled, "streams.internal", "ams") == ("fdaa::1", "fdaa::2")


@pytest.mark.parametrize("name", ["nobody.internal", "dfw.nobody.internal", "_apps.internal", "internal"])
def test_an_unknown_app_has_no_addresses(name: str) -> None:
    assert find_addresses(FLEET, name, "ams") is None


def test_a_wireguard_peer_has_no_address() -> None:
    """F-8.8"""
    assert find_addresses(FLEET, "laptop._peer.internal", "ams") is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        # F-8.9
        (
            "vms.streams.internal",
            "d8dd626f379508 ams,286533db064e58 dfw,4d891ee9b43e08 dfw,00000000000001 iad,00000000000003 ams",
        ),
        (
            "all.vms.streams.internal",
            "d8dd626f379508 ams,286533db064e58 dfw,4d891ee9b43e08 dfw,"
            "00000000000001 iad,00000000000002 lhr,00000000000003 ams",
        ),
        ("vms.empty.internal", ""),
        # F-8.10
        ("regions.streams.internal", "ams,dfw,iad"),
        ("all.regions.streams.internal", "ams,dfw,iad,lhr"),
        ("_apps.internal", "streams,chat,empty"),  # F-8.11
        ("_peer.internal", ""),  # F-8.12: there are no peers
        ("Regions.Streams.Internal.", "ams,dfw,iad"),
    ],
)
def test_a_txt_query_returns_one_list(name: str, text: str) -> None:
    assert find_texts(FLEET, name) == (text,)


def test_instances_lists_each_machine_of_every_app() -> None:
    """F-8.13"""
    started, deployed = find_texts(FLEET, "_instances.internal"), find_texts(FLEET, "all._instances.internal")
    assert started is not None
    assert deployed is not None
    entries = started[0].split(";")
    assert "instance=286533db064e58,app=streams,ip=fdaa::2,region=dfw" in entries
    assert len(entries) == 6
    assert set(deployed[0].split(";")) - set(entries) == {
        "instance=00000000000002,app=streams,ip=fdaa::5,region=lhr"
    }


@pytest.mark.parametrize(
    "name",
    [
        "streams.internal",
        "vms.nobody.internal",
        "cats.streams.internal",
        "a.vms.streams.internal",
        "all.internal",
    ],
)
def test_other_names_have_no_txt_record(name: str) -> None:
    assert find_texts(FLEET, name) is None


@pytest.mark.parametrize(
    ("name", "internal"),
    [
        ("streams.internal", True),
        ("STREAMS.Internal.", True),
        ("internal", True),
        ("example.com", False),
        ("notinternal", False),
        ("streams.internal.example.com", False),
        ("", False),
    ],
)
def test_internal_names_are_recognized_by_their_suffix(name: str, internal: bool) -> None:
    """F-8.1"""
    assert is_internal(name) is internal


@settings(max_examples=50)
@given(
    st.lists(
        st.sampled_from(["all", "vms", "vm", "streams", "top1", "nearest", "of", ""]) | st.text(max_size=8)
    ).map(".".join)
)
def test_any_name_resolves_or_is_unknown(name: str) -> None:
    addresses = find_addresses(FLEET, f"{name}.internal", "ams")
    assert addresses is None or set(addresses) <= set(ADDRESSES)
    texts = find_texts(FLEET, f"{name}.internal")
    assert texts is None or len(texts) == 1

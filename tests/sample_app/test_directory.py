"""Directory: order of machines and removal."""

from __future__ import annotations

import pytest

from sample_app.directory import Directory, Machine, creator_on

OWN = Machine("286533db064e58", "dfw", "Ochre Bittern")
SECOND = Machine("4d891ee9b43e08", "dfw", "Silver Ibis")
AMSTERDAM = Machine("d8dd626f379508", "ams", "Rosy Osprey")


def test_machines_are_sorted_by_region_and_then_by_id() -> None:
    directory = Directory(OWN)
    directory.add(SECOND)
    directory.add(AMSTERDAM)
    assert directory.machines == (AMSTERDAM, OWN, SECOND)
    assert directory.others == (AMSTERDAM, SECOND)


def test_a_machine_that_misses_a_whole_round_is_removed() -> None:
    directory = Directory(OWN)
    directory.add(AMSTERDAM)
    directory.add(SECOND)
    directory.begin_round()
    directory.add(SECOND)
    directory.end_round()
    assert directory.machines == (OWN, SECOND)


def test_listeners_are_notified_of_changes_only() -> None:
    directory = Directory(OWN)
    heard: list[int] = []
    directory.on_change(lambda: heard.append(len(directory.machines)))
    directory.add(AMSTERDAM)
    directory.add(AMSTERDAM)
    directory.add(OWN)
    directory.remove(AMSTERDAM.id)
    directory.remove(AMSTERDAM.id)
    assert heard == [2, 1]


def test_a_creator_is_found_by_the_slug_in_a_url() -> None:
    directory = Directory(OWN)
    directory.add(AMSTERDAM)
    assert directory.find_host("rosy-osprey") is AMSTERDAM
    assert directory.find_host("alice") is None


def test_the_same_machine_always_hosts_the_same_creator() -> None:
    assert [creator_on(machine.id) for machine in (OWN, SECOND, AMSTERDAM)] == [
        machine.creator for machine in (OWN, SECOND, AMSTERDAM)
    ]


@pytest.mark.parametrize(
    "message", [{}, {"machine": "a", "region": "ams"}, {"machine": 1, "region": "a", "creator": "b"}]
)
def test_a_message_without_a_sender_is_rejected(message: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected machine, region and creator"):
        Machine.from_json(message)

"""Who is there: order, and when a machine is forgotten."""

from __future__ import annotations

import pytest

from sample_app.directory import Directory, Machine, creator_on

OWN = Machine("286533db064e58", "dfw", "Ochre Bittern")
SECOND = Machine("4d891ee9b43e08", "dfw", "Silver Ibis")
AMSTERDAM = Machine("d8dd626f379508", "ams", "Rosy Osprey")


def test_machines_stand_by_region_and_then_by_id() -> None:
    directory = Directory(OWN)
    directory.hear_from(SECOND)
    directory.hear_from(AMSTERDAM)
    assert directory.machines == (AMSTERDAM, OWN, SECOND)
    assert directory.others == (AMSTERDAM, SECOND)


def test_who_keeps_silent_for_a_whole_round_is_forgotten() -> None:
    directory = Directory(OWN)
    directory.hear_from(AMSTERDAM)
    directory.hear_from(SECOND)
    directory.begin_round()
    directory.hear_from(SECOND)
    directory.end_round()
    assert directory.machines == (OWN, SECOND)


def test_listeners_hear_of_changes_only() -> None:
    directory = Directory(OWN)
    heard: list[int] = []
    directory.on_change(lambda: heard.append(len(directory.machines)))
    directory.hear_from(AMSTERDAM)
    directory.hear_from(AMSTERDAM)
    directory.hear_from(OWN)
    directory.forget(AMSTERDAM.id)
    directory.forget(AMSTERDAM.id)
    assert heard == [2, 1]


def test_a_creator_is_found_by_the_name_in_an_address() -> None:
    directory = Directory(OWN)
    directory.hear_from(AMSTERDAM)
    assert directory.find_host("rosy-osprey") is AMSTERDAM
    assert directory.find_host("alice") is None


def test_the_same_machine_always_hosts_the_same_creator() -> None:
    assert [creator_on(machine.id) for machine in (OWN, SECOND, AMSTERDAM)] == [
        machine.creator for machine in (OWN, SECOND, AMSTERDAM)
    ]


@pytest.mark.parametrize(
    "message", [{}, {"machine": "a", "region": "ams"}, {"machine": 1, "region": "a", "creator": "b"}]
)
def test_a_message_that_does_not_say_who_speaks_is_refused(message: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected machine, region and creator"):
        Machine.from_json(message)

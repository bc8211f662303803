"""What is advised for a machine that died at its start, or does not get well."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.machines.backend import Exit
from simulator.machines.machine_record import died_at_start, make_record, not_healthy_in_time
from tests.contract.harness import machine_spec


def test_one_in_a_container_is_tried_alone_in_one() -> None:
    record = make_record(
        replace(machine_spec(1, ()), image="chat:1", image_command=("serve", "a b"), internal_port=8080)
    )
    record.machine = replace(record.machine, ports=((8080, 32768),))

    told = str(died_at_start(record, Exit(1), "before it was healthy"))

    assert told.endswith("to try it alone: docker run --rm -e PORT=8080 chat:1 serve 'a b'")


def test_a_process_is_tried_alone_where_it_ran() -> None:
    record = make_record(replace(machine_spec(1, ("npm", "start")), image="chat:1", internal_port=8080))

    told = str(died_at_start(record, Exit(1), "before it was healthy"))

    assert told.endswith("to try it alone, in .: PORT=8080 npm start")


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({}, "it listens nowhere: let it listen on 127.0.0.1:80"),
        ({}, "give it more time: start_timeout under [apps.chat] of a flysim.toml"),
        ({"url": "http://127.0.0.1:4000"}, "start the server of http://127.0.0.1:4000 first"),
        ({"lookup": "ams-1"}, "or correct its label fly.internal_port"),
    ],
)
def test_one_that_does_not_get_well_is_mended_by_what_can_be_done(changes: dict[str, str], hint: str) -> None:
    record = make_record(replace(machine_spec(1, ("npm", "start")), **changes))  # type: ignore[arg-type]
    record.machine = replace(record.machine, host="127.0.0.1", port=80)
    told = str(not_healthy_in_time(record, ()))
    assert hint in told
    assert "None" not in told


def test_one_whose_start_is_held_up_is_not_blamed() -> None:
    record = make_record(machine_spec(1, ("npm", "start")))
    record.is_held = True
    assert "hint: heal the fault" in str(not_healthy_in_time(record, ()))

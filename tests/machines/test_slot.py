"""What is advised for a machine that died at its start."""

from __future__ import annotations

from dataclasses import replace

from simulator.machines.backend import Exit
from simulator.machines.slot import died_at_start, slot_of
from tests.contract.stage import machine_spec


def test_one_in_a_container_is_tried_alone_in_one() -> None:
    slot = slot_of(
        replace(machine_spec(1, ()), image="chat:1", image_command=("serve", "a b"), internal_port=8080)
    )
    slot.machine = replace(slot.machine, ports=((8080, 32768),))

    told = str(died_at_start(slot, Exit(1), "before it was healthy"))

    assert told.endswith("to try it alone: docker run --rm -e PORT=8080 chat:1 serve 'a b'")


def test_a_process_is_tried_alone_where_it_ran() -> None:
    slot = slot_of(replace(machine_spec(1, ("npm", "start")), image="chat:1", internal_port=8080))

    told = str(died_at_start(slot, Exit(1), "before it was healthy"))

    assert told.endswith("to try it alone, in .: PORT=8080 npm start")

"""Error messages for a machine that exits at its start, or stays unhealthy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.machines.backend import Exit
from simulator.machines.machine_record import exited_during_start, make_record, not_healthy_in_time
from simulator.testing import machine_spec


def test_a_container_that_exits_is_reported_with_a_docker_run_command() -> None:
    record = make_record(
        replace(machine_spec(1, ()), image="chat:1", image_command=("serve", "a b"), internal_port=8080)
    )
    record.machine = replace(record.machine, ports=((8080, 32768),))

    message = str(exited_during_start(record, Exit(1), "before it was healthy"))

    assert message.endswith("run it alone to see why: docker run --rm -e PORT=8080 chat:1 serve 'a b'")


def test_a_process_that_exits_is_reported_with_its_command_and_directory() -> None:
    record = make_record(replace(machine_spec(1, ("npm", "start")), image="chat:1", internal_port=8080))

    message = str(exited_during_start(record, Exit(1), "before it was healthy"))

    assert message.endswith("run it alone to see why, in .: PORT=8080 npm start")


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({}, "it does not listen on any port; make it listen on 127.0.0.1:80"),
        ({}, "set a longer start_timeout under [apps.chat] in flysim.toml"),
        ({"url": "http://127.0.0.1:4000"}, "start the server at http://127.0.0.1:4000 first"),
        ({"lookup": "ams-1"}, "or correct its label fly.internal_port"),
    ],
)
def test_an_unhealthy_machine_is_reported_with_a_hint(changes: dict[str, str], hint: str) -> None:
    record = make_record(replace(machine_spec(1, ("npm", "start")), **changes))  # type: ignore[arg-type]
    record.machine = replace(record.machine, host="127.0.0.1", port=80)
    message = str(not_healthy_in_time(record, ()))
    assert hint in message
    assert "None" not in message


def test_the_hint_for_a_delayed_start_names_the_fault() -> None:
    record = make_record(machine_spec(1, ("npm", "start")))
    record.is_start_delayed = True
    assert "hint: heal the fault" in str(not_healthy_in_time(record, ()))

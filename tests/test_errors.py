"""Texts and exit statuses of errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.errors import EnvironmentFault, InputError, MachineFault, SimulatorError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SimulatorError("an internal error"), 4),
        (InputError("wrong"), 2),
        (EnvironmentFault("wrong"), 3),
        (MachineFault("ams-1", "ended"), 3),
    ],
)
def test_each_kind_of_error_has_its_exit_status(error: SimulatorError, status: int) -> None:
    """2: the input is wrong; 3: the environment; 4: the simulator."""
    assert error.exit_status == status


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (InputError("there is no region 'xyz'"), "there is no region 'xyz'"),
        (InputError("cannot be read", path=Path("flysim.toml")), "flysim.toml: cannot be read"),
        (
            InputError(
                "region is 'xyz'", path="flysim.toml", line=7, column=3, expected="a region such as ams"
            ),
            "flysim.toml:7:3: region is 'xyz'\n  expected: a region such as ams",
        ),
        (InputError("region is 'xyz'", path="flysim.toml", line=7), "flysim.toml:7: region is 'xyz'"),
        (EnvironmentFault("port 8080 is in use"), "port 8080 is in use"),
        (
            EnvironmentFault("port 8080 is in use by nginx (812)", hint="choose another under [edges]"),
            "port 8080 is in use by nginx (812)\n  hint: choose another under [edges]",
        ),
        (MachineFault("ams-1", "ended with status 1"), "machine ams-1 ended with status 1"),
        (
            MachineFault(
                "ams-1", "ended with status 1", log_tail=("Traceback", "KeyError: 'PORT'"), hint="set PORT"
            ),
            "machine ams-1 ended with status 1\n  | Traceback\n  | KeyError: 'PORT'\n  hint: set PORT",
        ),
    ],
)
def test_an_error_shows_the_location_the_problem_and_a_hint(error: SimulatorError, text: str) -> None:
    assert str(error) == text


def test_the_parts_of_an_error_are_attributes() -> None:
    wrong = InputError("wrong", path="flysim.toml", line=7, column=3, expected="right")
    assert (wrong.problem, wrong.path, wrong.line, wrong.column, wrong.expected) == (
        "wrong",
        "flysim.toml",
        7,
        3,
        "right",
    )
    fault = MachineFault("ams-1", "ended", log_tail=("bye",), hint="look")
    assert (fault.machine, fault.log_tail, fault.hint) == ("ams-1", ("bye",), "look")
    assert fault.problem.startswith("machine ams-1 ended")

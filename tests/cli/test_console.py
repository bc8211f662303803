"""Format of log lines on the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from simulator.cli import console
from simulator.cli.console import print_machine_line, print_proxy_line


def test_a_log_line_of_the_proxy_has_the_format_of_flys_proxy() -> None:
    """F-6.62"""
    shown = Console(file=io.StringIO())
    print_proxy_line("286533db064e58", "dfw", "error", "[PA02] too many", on=shown)
    print_proxy_line(None, "ams", "error", "[PR04] no machine", on=shown)  # no machine chosen
    assert shown.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "proxy[286533db064e58] dfw [error] [PA02] too many",
        "proxy[-] ams [error] [PR04] no machine",
    ]


HOSTILE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202e \r"
SHOWN = r"red\x1b]0;title\x07 \u009b2J \u202e \r"


def terminal(*, no_color: bool = False) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(
        file=file, force_terminal=True, color_system="standard", no_color=no_color, width=200
    ), file


def test_a_terminal_gets_the_colors_of_a_machine_and_nothing_else() -> None:
    on, file = terminal()
    print_machine_line("ams", HOSTILE, on=on)
    _, _, line = file.getvalue().partition(" ")
    assert line == f"\x1b[31m{SHOWN}\x1b[0m\n"


def test_without_color_a_terminal_gets_the_text_of_a_machine() -> None:
    on, file = terminal(no_color=True)
    print_machine_line("ams", HOSTILE, on=on)
    assert file.getvalue() == f"ams {SHOWN}\n"


def test_a_file_gets_the_text_of_a_machine() -> None:
    on = Console(file=(file := io.StringIO()))
    print_machine_line("ams", HOSTILE, on=on)
    assert file.getvalue() == f"ams {SHOWN}\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_line_of_the_proxy_stays_one_line_without_escape_sequences(is_terminal: bool) -> None:
    on, file = terminal(no_color=True) if is_terminal else (Console(file=(f := io.StringIO())), f)
    print_proxy_line(None, "ams", "error", "[PA03] a\nb\x1b[2J", on=on)
    assert file.getvalue() == "proxy[-] ams [error] [PA03] a\\nb\\x1b[2J\n"


def test_messages_have_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_line(HOSTILE)
    console.print_note(HOSTILE)
    console.print_warning(HOSTILE)
    console.print_error(HOSTILE)
    written = capsys.readouterr()
    assert written.out == f"{SHOWN}\n"
    assert written.err == f"{SHOWN}\nwarning: {SHOWN}\nflysim: {SHOWN}\n"

"""Format of log lines on the terminal."""

from __future__ import annotations

import io

from rich.console import Console

from simulator.cli.console import print_proxy_line


def test_a_log_line_of_the_proxy_has_the_format_of_flys_proxy() -> None:
    """F-6.62"""
    shown = Console(file=io.StringIO())
    print_proxy_line("286533db064e58", "dfw", "error", "[PA02] too many", on=shown)
    print_proxy_line(None, "ams", "error", "[PR04] no machine", on=shown)  # no machine chosen
    assert shown.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "proxy[286533db064e58] dfw [error] [PA02] too many",
        "proxy[-] ams [error] [PR04] no machine",
    ]

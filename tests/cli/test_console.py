"""What the terminal shows of the proxy's log."""

from __future__ import annotations

import io

from rich.console import Console

from simulator.cli.console import show_proxy_line


def test_a_line_of_the_proxys_log_has_the_form_of_flys() -> None:
    """F-6.62"""
    shown = Console(file=io.StringIO())
    show_proxy_line("286533db064e58", "dfw", "error", "[PA02] too many", on=shown)
    show_proxy_line(None, "ams", "error", "[PR04] nobody", on=shown)  # none was chosen yet
    assert shown.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "proxy[286533db064e58] dfw [error] [PA02] too many",
        "proxy[-] ams [error] [PR04] nobody",
    ]

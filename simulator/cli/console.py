"""How flysim prints: results on stdout, what is about them on stderr; colour on a terminal only, if NO_COLOR allows."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from simulator.events import MachineLogged, ProxyLogged

_PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "", style: str | None = None) -> None:
    """One line or more of result."""
    out.print(Text(text), style=style)


def note(text: str, *, quiet: bool = False) -> None:
    """Something about what goes on, not a result."""
    if not quiet:
        err.print(Text(text), style="dim")


def warn(text: str) -> None:
    err.print(Text("warning: ", style="yellow"), Text(text), sep="")


def complain(text: str) -> None:
    """An error, as the last thing a command says."""
    err.print(Text("flysim: ", style="bold red"), Text(text), sep="")


def show_log(line: MachineLogged | ProxyLogged) -> None:
    """One log line: a machine's with its region in front, the proxy's as Fly writes them (F-6.62)."""
    if isinstance(line, MachineLogged):
        show_machine_line(line.region, line.line)
    else:
        show_proxy_line(line.machine_id, line.region, line.level, line.message)


def show_machine_line(region: str, text: str) -> None:
    if out.is_terminal:
        out.print(Text(region, style=_colour(region)), Text.from_ansi(text))
    else:
        sys.stdout.write(f"{region} {text}\n")
        sys.stdout.flush()


def show_proxy_line(machine_id: str | None, region: str, level: str, message: str) -> None:
    text = f"proxy[{machine_id or '-'}] {region} [{level}] {message}"
    if out.is_terminal:
        out.print(Text(text, style="red" if level == "error" else "yellow"))
    else:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _colour(region: str) -> str:
    return _PALETTE[sum(region.encode()) % len(_PALETTE)]

"""How flysim prints: results on stdout, what is about them on stderr; colour on a terminal only, if NO_COLOR allows.

Printing raises BrokenPipeError once nobody reads on.
"""

from __future__ import annotations

import io
import os
import shutil
import sys

from rich.console import Console
from rich.text import Text

from simulator.events import MachineLogged, ProxyLogged

_PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich calls this where it has caught the error, and would leave with exit status 1


out = _Console(highlight=False, soft_wrap=True)
err = _Console(stderr=True, highlight=False, soft_wrap=True)


def accept_any_text() -> None:
    """Print a question mark for what the encoding of stdout does not have, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_output() -> None:
    """Nobody reads stdout any more: what is still kept back for it must not fail at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def width() -> int:
    """Columns that there are for a line: those of the terminal, or of COLUMNS; 100 where neither is known."""
    return shutil.get_terminal_size((100, 24)).columns


def say(text: str = "", style: str | None = None) -> None:
    """One line or more of result."""
    out.print(Text(text), style=style)


def write(text: str) -> None:
    """A result as it is, its colours included."""
    out.file.write(text)
    out.file.flush()


def note(text: str, *, quiet: bool = False) -> None:
    """Something about what goes on, not a result."""
    if not quiet:
        err.print(Text(text), style="dim")


def warn(text: str) -> None:
    err.print(Text("warning: ", style="yellow"), Text(text), sep="")


def complain(text: str) -> None:
    """An error, as the last thing a command says."""
    err.print(Text("flysim: ", style="bold red"), Text(text), sep="")


def show_log(line: MachineLogged | ProxyLogged, *, on: Console = out, names: bool = False) -> None:
    """One log line: a machine's with its region or name in front, the proxy's as Fly writes them (F-6.62)."""
    if isinstance(line, MachineLogged):
        show_machine_line(line.name if names else line.region, line.line, on=on)
    else:
        show_proxy_line(line.machine_id, line.region, line.level, line.message, on=on)


def show_machine_line(origin: str, text: str, *, on: Console = out) -> None:
    if on.is_terminal:
        on.print(Text(origin, style=_colour(origin)), Text.from_ansi(text))
    else:
        on.file.write(f"{origin} {text}\n")
        on.file.flush()


def show_proxy_line(
    machine_id: str | None, region: str, level: str, message: str, *, on: Console = out
) -> None:
    text = " ".join(filter(None, (f"proxy[{machine_id or '-'}]", region, f"[{level}]", message)))
    if on.is_terminal:
        on.print(Text(text, style="red" if level == "error" else "yellow"))
    else:
        on.file.write(f"{text}\n")
        on.file.flush()


def _colour(region: str) -> str:
    return _PALETTE[sum(region.encode()) % len(_PALETTE)]

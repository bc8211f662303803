"""Terminal output: results on stdout, everything else on stderr.

Colors appear only on a terminal, and only if NO_COLOR is not set. Control characters and escape sequences in the text
are printed as escapes, such as `\\x1b`; only the colors of a machine's lines reach a terminal. Printing raises
BrokenPipeError once the reader has closed the pipe.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from simulator.text import escape, printable

if TYPE_CHECKING:
    from simulator.events import MachineLogged, ProxyLogged

_PALETTE = ("cyan", "magenta", "green", "yellow", "blue", "bright_red")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # Rich calls this in its `except` block. Its own version would exit with status 1.


out = _Console(highlight=False, soft_wrap=True)
err = _Console(stderr=True, highlight=False, soft_wrap=True)


def discard_stdout() -> None:
    """Redirect stdout to /dev/null, so that flushing its buffer at exit does not fail."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def width() -> int:
    """Columns of the terminal, or of the variable COLUMNS; 100 if neither is known."""
    return shutil.get_terminal_size((100, 24)).columns


def print_line(text: str = "", style: str | None = None) -> None:
    """Print a result of one or more lines on stdout."""
    out.print(_plain(text), style=style)


def write(text: str) -> None:
    """Write a result to stdout unchanged, its own color codes included."""
    out.file.write(text)
    out.file.flush()


def write_utf8(text: str) -> None:
    """Write a document to stdout in UTF-8, whatever the encoding of stdout; lone surrogates become escapes."""
    buffer = getattr(out.file, "buffer", None)
    if buffer is None:
        write(text)
        return
    out.file.flush()
    buffer.write(text.encode("utf-8", "backslashreplace"))
    buffer.flush()


def print_note(text: str, *, quiet: bool = False) -> None:
    """Report progress on stderr."""
    if not quiet:
        err.print(_plain(text), style="dim")


def print_warning(text: str) -> None:
    err.print(Text("warning: ", style="yellow"), _plain(text), sep="")


def print_error(text: str) -> None:
    """Print the error that ends a command."""
    err.print(Text("flysim: ", style="bold red"), _plain(text), sep="")


def print_log_line(line: MachineLogged | ProxyLogged, *, on: Console = out, names: bool = False) -> None:
    """Print a machine's line after its region or name, the proxy's line in Fly's format (F-6.62)."""
    from simulator.events import MachineLogged

    if isinstance(line, MachineLogged):
        print_machine_line(line.name if names else line.region, line.line, on=on)
    else:
        print_proxy_line(line.machine_id, line.region, line.level, line.message, on=on)


def print_machine_line(origin: str, text: str, *, on: Console = out) -> None:
    """Print a line of a machine, with its own colors if `on` shows colors."""
    if on.is_terminal:
        shown = Text.from_ansi(printable(text, colors=not on.no_color))
        on.print(Text(origin, style=_colour(origin)), shown)
    else:
        on.file.write(f"{origin} {printable(text)}\n")
        on.file.flush()


def print_proxy_line(
    machine_id: str | None, region: str, level: str, message: str, *, on: Console = out
) -> None:
    text = " ".join(filter(None, (f"proxy[{machine_id or '-'}]", region, f"[{level}]", escape(message))))
    if on.is_terminal:
        on.print(Text(text, style="red" if level == "error" else "yellow"))
    else:
        on.file.write(f"{text}\n")
        on.file.flush()


def _plain(text: str) -> Text:
    return Text(printable(text))


def _colour(origin: str) -> str:
    return _PALETTE[sum(map(ord, origin)) % len(_PALETTE)]

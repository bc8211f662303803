"""Lint for commands and env values: shell syntax and unknown placeholders.

As on Fly, a machine's command is a program with its arguments and runs without a shell. Shell syntax reaches the
program as literal arguments, which is rarely intended, so loading the file reports it as a warning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from simulator.config.model import PLACEHOLDERS
from simulator.config.problems import suggest

_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "env"})
_OPERATORS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"})
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)")
_NAME_IN_BRACES = re.compile(r"(?<![{$])\{([a-z_]+)\}(?!\})")


def find_assignment(command: Sequence[str]) -> tuple[str, str] | None:
    """(name, value) if the command starts with a variable assignment, as in `PORT=3000 python …`."""
    match = _ASSIGNMENT.fullmatch(command[0]) if command else None
    return (match[1], match[2]) if match else None


def lint_command(command: Sequence[str]) -> Iterator[str]:
    """Yields one warning per problem."""
    uses_shell = bool(command) and PurePath(command[0]).name in _SHELLS
    for argument in () if uses_shell else command:
        if argument in _OPERATORS:
            yield (
                f'the command runs without a shell, so "{argument}" is passed as an argument; '
                'to use a shell: ["sh", "-c", "…"]'
            )
        elif variable := _VARIABLE.fullmatch(argument):
            yield (
                f'the command runs without a shell, so "{variable[0]}" is not expanded; '
                'to use a shell: ["sh", "-c", "…"]; placeholders such as {port} and {host} are replaced'
            )
    for argument in command:
        yield from lint_text(argument)


def lint_env(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields (name of the variable, warning)."""
    if "PORT" in env:
        yield "PORT", "flysim overrides PORT with the machine's own port; in a command, use {port}"
    for name, value in env.items():
        for warning in lint_text(value):
            yield name, warning


def lint_text(text: str) -> Iterator[str]:
    """Warns about unknown placeholders such as `{prot}`.

    In text with spaces, such as an inline script, braces are common: there only a near miss is reported.
    """
    for match in _NAME_IN_BRACES.finditer(text):
        hint = suggest(match[1], PLACEHOLDERS)
        if match[1] not in PLACEHOLDERS and (hint or not re.search(r"\s", text)):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            yield f"{match[0]} is not a placeholder{hint or f'; known placeholders: {known}'}"

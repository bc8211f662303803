"""Habits of the shell in commands that no shell reads, and placeholders that nothing fills in.

A machine's command is a program and its arguments, as on Fly. What only a shell would understand is passed on to
the program as it is, which is hardly ever meant, so it is told when the file is read.
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
    """Name and value, where a command begins as `PORT=3000 python …` does."""
    match = _ASSIGNMENT.fullmatch(command[0]) if command else None
    return (match[1], match[2]) if match else None


def lint_command(command: Sequence[str]) -> Iterator[str]:
    """What is probably meant otherwise, in words."""
    is_for_shell = bool(command) and PurePath(command[0]).name in _SHELLS
    for word in () if is_for_shell else command:
        if word in _OPERATORS:
            yield f'no shell reads the command, so "{word}" is one more argument; for a shell: ["sh", "-c", "…"]'
        elif variable := _VARIABLE.fullmatch(word):
            yield (
                f'no shell reads the command, so "{variable[0]}" stays as it is; '
                'for a shell: ["sh", "-c", "…"]; flysim fills in {port}, {host} and the like'
            )
    for word in command:
        yield from lint_text(word)


def lint_env(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each with the variable that it is about."""
    if "PORT" in env:
        yield "PORT", "PORT gives way to the port that flysim gives each machine: {port} in a command"
    for name, value in env.items():
        for words in lint_text(value):
            yield name, words


def lint_text(text: str) -> Iterator[str]:
    """`{prot}`; a name in the braces of a longer text, such as a program, may be its own affair."""
    for match in _NAME_IN_BRACES.finditer(text):
        hint = suggest(match[1], PLACEHOLDERS)
        if match[1] not in PLACEHOLDERS and (hint or not re.search(r"\s", text)):
            known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
            yield f"{match[0]} is not filled in{hint or f': it is none of {known}'}"

"""Errors of user input, environment and machines, each with its exit status.

Failures that the simulator *emulates* (PA02, PR04 ...) are values in `simulator.routing.errors`, never exceptions.
"""

from __future__ import annotations

from pathlib import Path

from simulator.text import printable


class SimulatorError(Exception):
    """Base class of errors that end a command. The CLI prints the text without a traceback. Exit status 4."""

    exit_status = 4

    def __str__(self) -> str:
        """The message, which may quote a file or a machine, with its control characters escaped."""
        return printable(super().__str__())


class InputError(SimulatorError):
    """A command, config file or scenario file is invalid: where, what was read, what was expected. Exit status 2."""

    exit_status = 2

    def __init__(
        self,
        problem: str,
        *,
        path: Path | str | None = None,
        line: int | None = None,
        column: int | None = None,
        expected: str | None = None,
    ) -> None:
        self.problem = problem
        self.path = path
        self.line = line
        self.column = column
        self.expected = expected
        super().__init__(self._text())

    def _text(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line, self.column) if part is not None)
        text = f"{place}: {self.problem}" if place else self.problem
        return f"{text}\n  expected: {self.expected}" if self.expected else text


class WrongStateError(InputError):
    """The input is valid, but the state of the machine does not allow the action."""


class EnvironmentFault(SimulatorError):
    """The environment has a problem: a port is in use, an app did not start, no Docker engine. Exit status 3."""

    exit_status = 3

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)


class MachineFault(EnvironmentFault):
    """A machine failed to do an action; carries its last log lines."""

    def __init__(
        self, machine: str, problem: str, *, log_tail: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        self.machine = machine
        self.log_tail = log_tail
        tail = "".join(f"\n  | {line}" for line in log_tail)
        super().__init__(f"machine {machine} {problem}{tail}", hint=hint)

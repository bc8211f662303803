"""Faults of the user or of the machine room, each with the exit status it ends flysim with.

Failures that the simulator *emulates* (PA02, PR04 ...) are values in `simulator.routing.errors`, never these.
"""

from __future__ import annotations

from pathlib import Path


class SimulatorError(Exception):
    """What flysim cannot go on from. Its text is all that a user sees; exit status 4 where a child says no other."""

    exit_status = 4


class InputError(SimulatorError):
    """A command, config or scenario file is wrong: where, what was read, what was expected. Exit status 2."""

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
    """What was asked for is right, but the machine is in a state that does not allow it."""


class EnvironmentFault(SimulatorError):
    """The machine room is not in order: a port is taken, an app did not start, no Docker engine. Exit status 3."""

    exit_status = 3

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        self.problem = problem
        self.hint = hint
        super().__init__(f"{problem}\n  hint: {hint}" if hint else problem)


class MachineFault(EnvironmentFault):
    """A machine did not do what was asked of it; carries its last log lines."""

    def __init__(
        self, machine: str, problem: str, *, log_tail: tuple[str, ...] = (), hint: str | None = None
    ) -> None:
        self.machine = machine
        self.log_tail = log_tail
        tail = "".join(f"\n  | {line}" for line in log_tail)
        super().__init__(f"machine {machine} {problem}{tail}", hint=hint)

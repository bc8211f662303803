"""Why a container did not start, in words: the engine's or its init's, with what helps against it."""

from __future__ import annotations

import re

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError

_NO_PROGRAM = re.compile(
    r'exec: "([^"]+)": (?:executable file not found|stat .*: no such file)|FATAL tini.* exec (\S+) failed: No such'
)


def complains_of_program(line: str) -> bool:
    """Whether an init says that there is no such program."""
    return _NO_PROGRAM.search(line) is not None


def start_fault(spec: MachineSpec, problem: str) -> InputError | EnvironmentFault:
    of_machine = f"machine {spec.name} of app {spec.app}"
    if "port is already allocated" in problem or "address already in use" in problem:
        return EnvironmentFault(
            f"{of_machine} publishes a port that is taken: {problem}",
            hint="end whatever has it (docker ps shows published ports)"
            + (
                ', or let the engine choose: "127.0.0.1::8080" in a compose file'
                if spec.is_taken
                else ", and try again"
            ),
        )
    if match := _NO_PROGRAM.search(problem):
        return InputError(
            f'{of_machine}: there is no command "{match[1] or match[2]}" in image {spec.image}',
            expected=f"a program of the image; look into it with: docker run --rm -it --entrypoint sh {spec.image}",
        )
    return EnvironmentFault(f"{of_machine} cannot be started: {problem}", hint="see what docker events says")

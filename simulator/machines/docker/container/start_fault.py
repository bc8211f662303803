"""Start errors of a container: messages of the engine or of its init process, with a hint."""

from __future__ import annotations

import re

from simulator.config.model import MachineSpec
from simulator.errors import EnvironmentFault, InputError

_NO_PROGRAM = re.compile(
    r'exec: "([^"]+)": (?:executable file not found|stat .*: no such file)|FATAL tini.* exec (\S+) failed: No such'
)


def is_missing_program_error(line: str) -> bool:
    return _NO_PROGRAM.search(line) is not None


def start_fault(spec: MachineSpec, problem: str) -> InputError | EnvironmentFault:
    machine = f"machine {spec.name} of app {spec.app}"
    if "port is already allocated" in problem or "address already in use" in problem:
        return EnvironmentFault(
            f"{machine} publishes a port that is in use: {problem}",
            hint="stop the program that uses it (docker ps lists published ports)"
            + (
                ', or let the engine choose the port: "127.0.0.1::8080" in the Compose file'
                if spec.is_adopted
                else ", then try again"
            ),
        )
    if match := _NO_PROGRAM.search(problem):
        return InputError(
            f'{machine}: command "{match[1] or match[2]}" not found in image {spec.image}',
            expected="a program that the image contains; list them with: "
            f"docker run --rm -it --entrypoint sh {spec.image}",
        )
    return EnvironmentFault(f"{machine} cannot start: {problem}", hint="check the output of docker events")

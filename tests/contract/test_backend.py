"""The contract suite, run on each backend of flysim."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.backend import Backend
from simulator.machines.docker import DockerBackend
from simulator.machines.docker.image.images import PYTHON_IMAGE
from simulator.machines.fake import FakeApp, FakeBackend
from simulator.machines.processes.backend import ProcessBackend
from simulator.routing.model import App
from simulator.testing import BackendContract
from simulator.testing.backend_contract import APP


class TestFakeBackend(BackendContract):
    def make_backend(self) -> Backend:
        self.fake = FakeBackend()
        return self.fake

    def machine_command(self, app: FakeApp) -> tuple[str, ...]:
        name = f"app-{len(self.fake.apps)}"
        self.fake.apps[name] = app
        return (name, "{host}", "{port}")


class TestProcessBackend(BackendContract):
    def make_backend(self) -> Backend:
        return ProcessBackend()


@pytest.mark.docker
class TestDockerBackend(BackendContract):
    def make_backend(self) -> Backend:
        return DockerBackend([App("chat")])

    def machine_command(self, app: FakeApp) -> tuple[str, ...]:
        return ("{python}", APP.name, "{host}", "{port}", json.dumps(asdict(app)))

    def machine_spec(self, number: int, command: tuple[str, ...], **options: float) -> MachineSpec:
        """A command that is not {python} becomes the command of an image that does not contain it."""
        spec = replace(super().machine_spec(number, command, **options), cwd=APP.parent)
        return spec if command[0] == "{python}" else replace(spec, image=PYTHON_IMAGE, image_command=command)

"""A clone of a container that flysim did not make: what the original lacks is no obstacle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simulator.config.model import MachineSpec
from simulator.machines.docker.clone import create_clone
from simulator.machines.docker.engine import Engine
from tests.machines.refusing_engine import refusing_engine

BARE: dict[str, Any] = {"Image": "web", "Cmd": None, "Entrypoint": ["/web"], "User": "", "WorkingDir": ""}


@pytest.mark.parametrize("environment", [None, [], ["FLY_REGION=dfw", "LANG"]])
async def test_a_clone_has_the_variables_of_its_original_if_that_has_any(
    environment: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine may say null; one that is unset on purpose has no value."""
    original = {
        "Config": {**BARE, "Env": environment},
        "HostConfig": {},
        "NetworkSettings": {"Networks": {}},
    }
    answers = {"POST /containers/create": [{"Id": "c2"}]}
    told: list[Any] = []
    with refusing_engine(tmp_path / "s", answers=answers, told=told) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        engine = await Engine.connect()
        made = await engine.do(
            create_clone,
            engine.api,
            original,
            MachineSpec("286533db064e58", "dfw-1", "streams", "dfw"),
            name="clone",
            labels={},
            variables={"FLY_REGION": "dfw"},
            publish={8080: ("127.0.0.1", 0)},
        )
        engine.close()

    assert made == "c2"
    assert told[0]["Env"] == [*(environment or [])[1:], "FLY_REGION=dfw"]

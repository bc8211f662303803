"""The log of a service: each line once, whatever breaks; last words are read for all that end together."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from simulator.machines.swarm import service_log as log
from simulator.machines.swarm.service_log import Line, ServiceLog
from simulator.testing import eventually
from tests.machines.swarm.recorded_engine import RecordedManager, frame


class SlowManager(RecordedManager):
    """It says nothing of what was written until it `may_say` so."""

    def __init__(self) -> None:
        super().__init__([])
        self.may_say = threading.Event()

    def open_log(self, service_id: str, timeout_seconds: float | None = None, **options: str) -> Any:
        response = super().open_log(service_id, timeout_seconds, **options)
        self.may_say.wait(10)
        return response


def log_of(manager: RecordedManager, told: list[Line], *, since: str = "") -> ServiceLog:
    return ServiceLog(manager, "s1", told.append, since=since)  # type: ignore[arg-type]


def texts(told: list[Line]) -> list[str]:
    return [line.text for line in told]


async def test_a_log_that_breaks_off_is_followed_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, told = RecordedManager([]), list[Line]()
    followed = log_of(manager, told, since="100")
    followed.open()  # Nothing is there yet: refused.
    await eventually(lambda: manager.asked_for_logs and not followed.is_open, "the refusal")
    manager.written["s1"] = [frame("t1", 1, "one"), frame("t1", 3, "two")]
    followed.open()
    assert not followed.is_open, "not at once"
    followed.close()

    monkeypatch.setattr(log, "_REOPEN_SECONDS", 0.0)
    followed = log_of(manager, told, since="100")
    followed.open()
    await eventually(lambda: len(told) == 2 and not followed.is_open, "its end")
    manager.written["s1"].append(frame("t1", 4, "three"))
    followed.open()
    await eventually(lambda: len(told) == 3, "the new line")
    followed.close()
    assert texts(told) == ["one", "two", "three"]
    assert [each["since"] for each in manager.asked_for_logs] == [
        "100",
        "100",
        str(log.epoch_seconds(told[1].timestamp)),
    ]


async def test_last_words_of_tasks_that_end_together_are_read_together() -> None:
    manager, told = SlowManager(), list[Line]()
    manager.written["s1"] = [frame(f"t{n}", n, f"bye {n}") for n in range(20)]
    followed = log_of(manager, told)
    draining = [asyncio.create_task(followed.drain(f"t{n}")) for n in range(20)]
    await eventually(lambda: manager.asked_for_logs, "the first reading")
    manager.may_say.set()
    await asyncio.gather(*draining)
    assert sorted(texts(told)) == sorted(f"bye {n}" for n in range(20))
    assert len(manager.asked_for_logs) == 2
    await followed.drain("t3")
    assert len(told) == 20


async def test_a_manager_that_tells_no_last_words_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it take a thread from anybody: those of the loop are joined at its end."""
    monkeypatch.setattr(log, "_DRAIN_SECONDS", 0.1)
    manager, told = SlowManager(), list[Line]()
    manager.written["s1"] = [frame("t1", 1, "bye")]
    await asyncio.gather(*(log_of(manager, told).drain("t1") for _ in range(100)))
    async with asyncio.timeout(5):
        await asyncio.get_running_loop().shutdown_default_executor()
    manager.may_say.set()
    assert told == []


async def test_a_line_is_told_once_for_as_long_as_its_task_is_kept_in_mind() -> None:
    manager, told = RecordedManager([]), list[Line]()
    manager.written["s1"] = [frame("t1", 1, "one"), frame("t2", 2, "two")]
    followed = log_of(manager, told)
    await followed.drain("t1")
    await followed.drain("t2")
    followed.keep({"t2"})
    await followed.drain("t2")
    assert texts(told) == ["one", "two"]
    await followed.drain("t1")
    assert texts(told) == ["one", "two", "one"]

"""Log of a Swarm service: each line once, also after a broken stream; tasks that exit together are drained together."""

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
    """A manager that returns no log until `may_respond` is set."""

    def __init__(self) -> None:
        super().__init__([])
        self.may_respond = threading.Event()

    def open_log(self, service_id: str, timeout_seconds: float | None = None, **options: str) -> Any:
        response = super().open_log(service_id, timeout_seconds, **options)
        self.may_respond.wait(10)
        return response


def log_of(manager: RecordedManager, lines: list[Line], *, since: str = "") -> ServiceLog:
    return ServiceLog(manager, "s1", lines.append, since=since)  # type: ignore[arg-type]


def texts(lines: list[Line]) -> list[str]:
    return [line.text for line in lines]


async def test_a_broken_log_stream_is_opened_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    manager, lines = RecordedManager([]), list[Line]()
    followed = log_of(manager, lines, since="100")
    followed.open()  # There is no log yet, so the request fails.
    await eventually(lambda: manager.log_requests and not followed.is_open, "the failed request")
    manager.written["s1"] = [frame("t1", 1, "one"), frame("t1", 3, "two")]
    followed.open()
    assert not followed.is_open, "not at once"
    followed.close()

    monkeypatch.setattr(log, "_REOPEN_SECONDS", 0.0)
    followed = log_of(manager, lines, since="100")
    followed.open()
    await eventually(lambda: len(lines) == 2 and not followed.is_open, "its end")
    manager.written["s1"].append(frame("t1", 4, "three"))
    followed.open()
    await eventually(lambda: len(lines) == 3, "the new line")
    followed.close()
    assert texts(lines) == ["one", "two", "three"]
    assert [each["since"] for each in manager.log_requests] == [
        "100",
        "100",
        str(log.epoch_seconds(lines[1].timestamp)),
    ]


async def test_the_last_lines_of_tasks_that_exit_together_are_read_together() -> None:
    manager, lines = SlowManager(), list[Line]()
    manager.written["s1"] = [frame(f"t{n}", n, f"bye {n}") for n in range(20)]
    followed = log_of(manager, lines)
    draining = [asyncio.create_task(followed.drain(f"t{n}")) for n in range(20)]
    await eventually(lambda: manager.log_requests, "the first reading")
    manager.may_respond.set()
    await asyncio.gather(*draining)
    assert sorted(texts(lines)) == sorted(f"bye {n}" for n in range(20))
    assert len(manager.log_requests) == 2
    await followed.drain("t3")
    assert len(lines) == 20


async def test_a_manager_that_does_not_respond_does_not_delay_an_exit_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It does not block a thread of the loop's default executor either."""
    monkeypatch.setattr(log, "_DRAIN_SECONDS", 0.1)
    manager, lines = SlowManager(), list[Line]()
    manager.written["s1"] = [frame("t1", 1, "bye")]
    await asyncio.gather(*(log_of(manager, lines).drain("t1") for _ in range(100)))
    async with asyncio.timeout(5):
        await asyncio.get_running_loop().shutdown_default_executor()
    manager.may_respond.set()
    assert lines == []


async def test_a_line_is_emitted_once_as_long_as_its_task_is_kept() -> None:
    manager, lines = RecordedManager([]), list[Line]()
    manager.written["s1"] = [frame("t1", 1, "one"), frame("t2", 2, "two")]
    followed = log_of(manager, lines)
    await followed.drain("t1")
    await followed.drain("t2")
    followed.keep({"t2"})
    await followed.drain("t2")
    assert texts(lines) == ["one", "two"]
    await followed.drain("t1")
    assert texts(lines) == ["one", "two", "one"]

"""How machines learn of one another: by asking every other one, and by saying so at once.

Asking is what the write-up does: after 100 ms and every 10 s, `discover_request` to each machine that DNS lists,
which answers `discover_reply`. It finds a machine that died without a word, or that had no network for a while.
Saying so is what the write-up wished for: `stream_started` and `stream_stopped`, so that nobody waits.
Every message carries its sender; so a request makes the asker known, too.

The pause between the first rounds grows from 100 ms to the 10 s: machines that start together are listed in DNS
one after the other.
"""

from __future__ import annotations

import asyncio
import json
import logging

from sample_app.directory import Directory, Machine
from sample_app.private_network import ANSWER_WITHIN_SECONDS, PrivateNetwork, Unreachable

FIRST_ROUND_AFTER_SECONDS = 0.1
PAUSE_GROWS_BY = 3
WORTH_A_WORD_AFTER_FAILURES = 4  # A name server may come up after the machines that ask it.
GOODBYE_WITHIN_SECONDS = 0.3

log = logging.getLogger(__name__)


class Discovery:
    def __init__(self, directory: Directory, network: PrivateNetwork, *, every_seconds: float) -> None:
        self._directory = directory
        self._network = network
        self._every_seconds = every_seconds
        self._failures = 0
        """Of DNS, one after the other."""

    async def run(self) -> None:
        """For the life of the machine; to be cancelled."""
        await self._say_to_all("stream_started", await self._listed_ids() or [])
        pause = FIRST_ROUND_AFTER_SECONDS
        while True:
            await asyncio.sleep(min(pause, self._every_seconds))
            await self._ask_all()
            pause = min(pause * PAUSE_GROWS_BY, self._every_seconds)

    async def close_websockets(self) -> None:
        known_ids = [machine.id for machine in self._directory.others]
        try:
            async with asyncio.timeout(GOODBYE_WITHIN_SECONDS):
                await self._say_to_all("stream_stopped", known_ids)
        except TimeoutError:
            log.debug("Some machines were not told that this one stops.")

    def answer(self, message: dict[str, object]) -> dict[str, str] | None:
        """To what another machine says; None where nothing is to be said. Raises ValueError for what is no message."""
        sender = Machine.from_json(message)
        match message.get("type"):
            case "discover_request":
                self._directory.hear_from(sender)
                return self._message("discover_reply")
            case "stream_started":
                self._directory.hear_from(sender)
            case "stream_stopped":
                self._directory.forget(sender.id)
            case unknown:
                raise ValueError(f"no such message: {unknown!r}")
        return None

    async def _ask_all(self) -> None:
        """One round; where DNS does not answer there is none, and nobody is forgotten for that."""
        self._directory.begin_round()
        machine_ids = await self._listed_ids()
        if machine_ids is not None:
            await asyncio.gather(*map(self._ask, machine_ids))
            self._directory.end_round()

    async def _ask(self, machine_id: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS), self._network.link(machine_id) as link:
                await link.send(json.dumps(self._message("discover_request")))
                self._directory.hear_from(Machine.from_json(json.loads(await link.recv())))
        except (Unreachable, TimeoutError, ValueError) as error:
            log.debug("Machine %s was asked in vain: %s", machine_id, error)

    async def _say_to_all(self, kind: str, machine_ids: list[str]) -> None:
        await asyncio.gather(*(self._say(kind, machine_id) for machine_id in machine_ids))

    async def _say(self, kind: str, machine_id: str) -> None:
        try:
            async with asyncio.timeout(ANSWER_WITHIN_SECONDS), self._network.link(machine_id) as link:
                await link.send(json.dumps(self._message(kind)))
        except (Unreachable, TimeoutError) as error:
            log.debug("Machine %s could not be told %s: %s", machine_id, kind, error)

    async def _listed_ids(self) -> list[str] | None:
        """The others that DNS lists; None where it does not answer, which is said once, and when it does again."""
        try:
            machine_ids = await self._network.machine_ids()
        except Unreachable as error:
            self._failures += 1
            if self._failures == WORTH_A_WORD_AFTER_FAILURES:
                log.info("No other machines can be found: %s. Working alone.", error)
            return None
        if self._failures >= WORTH_A_WORD_AFTER_FAILURES:
            log.info("Other machines can be found again.")
        self._failures = 0
        return [machine_id for machine_id in machine_ids if machine_id != self._directory.own.id]

    def _message(self, kind: str) -> dict[str, str]:
        return {"type": kind, **self._directory.own.as_json()}

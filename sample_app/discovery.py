"""Discovery of the app's other machines, by periodic requests and by immediate announcements.

The requests follow the write-up: after 100 ms and then every 10 s, each machine sends `discover_request` to all
machines in DNS, which reply with `discover_reply`. They detect a machine that crashed or had no network for a while.
The announcements `stream_started` and `stream_stopped` are the improvement that the write-up suggests: they take
effect at once. Every message contains its sender, so a request announces its sender too.

The pause between the first rounds grows from 100 ms to 10 s, because machines that start together appear in DNS one
after the other.
"""

from __future__ import annotations

import asyncio
import json
import logging

from sample_app.directory import Directory, Machine
from sample_app.private_network import RESPONSE_TIMEOUT_SECONDS, PrivateNetwork, Unreachable

FIRST_ROUND_AFTER_SECONDS = 0.1
PAUSE_FACTOR = 3
FAILURES_BEFORE_LOG = 4  # The name server may start after the machines.
STOP_TIMEOUT_SECONDS = 0.3

log = logging.getLogger(__name__)


class Discovery:
    def __init__(self, directory: Directory, network: PrivateNetwork, *, every_seconds: float) -> None:
        self._directory = directory
        self._network = network
        self._every_seconds = every_seconds
        self._failures = 0
        """Consecutive failures of DNS."""

    async def run(self) -> None:
        """Runs until it is canceled."""
        await self._announce("stream_started", await self._listed_ids() or [])
        pause = FIRST_ROUND_AFTER_SECONDS
        while True:
            await asyncio.sleep(min(pause, self._every_seconds))
            await self._ask_all()
            pause = min(pause * PAUSE_FACTOR, self._every_seconds)

    async def announce_stop(self) -> None:
        known_ids = [machine.id for machine in self._directory.others]
        try:
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await self._announce("stream_stopped", known_ids)
        except TimeoutError:
            log.debug("Timeout: not all machines received stream_stopped.")

    def handle(self, message: dict[str, object]) -> dict[str, str] | None:
        """Handles a message of another machine. Returns the reply, if any. Raises ValueError if it is invalid."""
        sender = Machine.from_json(message)
        match message.get("type"):
            case "discover_request":
                self._directory.add(sender)
                return self._message("discover_reply")
            case "stream_started":
                self._directory.add(sender)
            case "stream_stopped":
                self._directory.remove(sender.id)
            case unknown:
                raise ValueError(f"unknown message type {unknown!r}")
        return None

    async def _ask_all(self) -> None:
        """One discovery round. If DNS fails, the round is skipped and no machine is removed."""
        self._directory.begin_round()
        machine_ids = await self._listed_ids()
        if machine_ids is not None:
            await asyncio.gather(*map(self._ask, machine_ids))
            self._directory.end_round()

    async def _ask(self, machine_id: str) -> None:
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS), self._network.link(machine_id) as link:
                await link.send(json.dumps(self._message("discover_request")))
                self._directory.add(Machine.from_json(json.loads(await link.recv())))
        except (Unreachable, TimeoutError, ValueError) as error:
            log.debug("Machine %s did not reply to discover_request: %s", machine_id, error)

    async def _announce(self, kind: str, machine_ids: list[str]) -> None:
        await asyncio.gather(*(self._send(kind, machine_id) for machine_id in machine_ids))

    async def _send(self, kind: str, machine_id: str) -> None:
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS), self._network.link(machine_id) as link:
                await link.send(json.dumps(self._message(kind)))
        except (Unreachable, TimeoutError) as error:
            log.debug("Could not send %s to machine %s: %s", kind, machine_id, error)

    async def _listed_ids(self) -> list[str] | None:
        """The other machines in DNS, or None if DNS fails. Logs the failure once, and the recovery."""
        try:
            machine_ids = await self._network.machine_ids()
        except Unreachable as error:
            self._failures += 1
            if self._failures == FAILURES_BEFORE_LOG:
                log.info("Cannot discover other machines: %s. Running alone.", error)
            return None
        if self._failures >= FAILURES_BEFORE_LOG:
            log.info("Discovery of other machines works again.")
        self._failures = 0
        return [machine_id for machine_id in machine_ids if machine_id != self._directory.own.id]

    def _message(self, kind: str) -> dict[str, str]:
        return {"type": kind, **self._directory.own.as_json()}

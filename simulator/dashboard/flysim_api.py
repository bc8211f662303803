"""flysim's own part of the control API, under `/_flysim/`: status, traces, events, logs, clock, reset, kill, clone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.config.duration import parse_duration
from simulator.config.problems import suggest
from simulator.dashboard.controls import Controls
from simulator.dashboard.json_view import (
    encode_line,
    encode_server_sent,
    event_view,
    machine_view,
)
from simulator.dashboard.responses import ApiError, JSONResponse, read_flag, read_json, read_number
from simulator.dashboard.stream import LiveResponse, Streams, Subscription
from simulator.events import MachineLogged, ProxyLogged
from simulator.routing.model import Machine
from simulator.routing.regions import REGIONS, is_region

DEFAULT_TRACES = 100
MAX_LIMIT = 100_000


class FlysimApi:
    def __init__(self, controls: Controls, streams: Streams) -> None:
        self._controls = controls
        self._streams = streams

    def routes(self) -> list[Route]:
        return [
            Route("/_flysim/ready", self._ready, methods=["GET"]),
            Route("/_flysim/status", self._status, methods=["GET"]),
            Route("/_flysim/traces", self._traces, methods=["GET"]),
            Route("/_flysim/traces/{request_id}", self._trace, methods=["GET"]),
            Route("/_flysim/findings", self._findings, methods=["GET"]),
            Route("/_flysim/events", self._events, methods=["GET"]),
            Route("/_flysim/logs", self._logs, methods=["GET"]),
            Route("/_flysim/clock", self._advance, methods=["POST"]),
            Route("/_flysim/reset", self._reset, methods=["POST"]),
            Route("/_flysim/machines/{key}/kill", self._kill, methods=["POST"]),
            Route("/_flysim/machines/{key}/clone", self._clone, methods=["POST"]),
        ]

    async def _ready(self, request: Request) -> Response:
        return JSONResponse(self._controls.ready())

    async def _status(self, request: Request) -> Response:
        controls = self._controls
        return JSONResponse(
            {
                **controls.ready(),
                "edges": dict(controls.edges),
                "machines": self._machines(),
                "clock": {"now": controls.clock.now(), "realtime": controls.clock.realtime},
                "traces": len(controls.journal.traces()),
                "streams": len(self._streams),
            }
        )

    def _machines(self) -> list[dict[str, Any]]:
        health_problems = self._controls.health_problems()
        return [
            machine_view(machine)
            | ({"problem": health_problems[machine.id]} if machine.id in health_problems else {})
            for machine in self._controls.fleet.machines
        ]

    async def _traces(self, request: Request) -> Response:
        limit = read_number(request, "limit", DEFAULT_TRACES, minimum=0, maximum=MAX_LIMIT)
        traces = self._controls.journal.traces()
        return JSONResponse([trace.as_dict() for trace in traces[max(0, len(traces) - limit) :]])

    async def _trace(self, request: Request) -> Response:
        request_id = request.path_params["request_id"]
        trace = self._controls.journal.find_trace(request_id)
        if trace is None:
            known = len(self._controls.journal.traces())
            raise ApiError(
                404,
                f'there is no trace with the id "{request_id}"; traces stored: {known}; '
                "a request that was refused as invalid has none: see the log",
            )
        return JSONResponse(trace.as_dict())

    async def _findings(self, request: Request) -> Response:
        return JSONResponse([finding.as_dict() for finding in self._controls.findings()])

    async def _events(self, request: Request) -> Response:
        subscription = self._streams.subscribe()
        return LiveResponse(_server_sent(subscription), "text/event-stream", subscription)

    async def _logs(self, request: Request) -> Response:
        key = request.query_params.get("machine")
        machine_id = self._logged_machine_id(key) if key else None
        # No await between these two reads, so no line is missed or repeated.
        lines = [line for line in self._controls.journal.log() if machine_id in (None, line.machine_id)]
        if not read_flag(request, "follow"):
            return JSONResponse([event_view(line) for line in lines])
        subscription = self._streams.subscribe(MachineLogged, ProxyLogged)
        return LiveResponse(_follow(lines, machine_id, subscription), "application/x-ndjson", subscription)

    async def _advance(self, request: Request) -> Response:
        data = await read_json(request)
        try:
            seconds = parse_duration(data.get("advance"), unit="s")
        except ValueError as error:
            raise ApiError(400, f'{error}; expected {{"advance": "10s"}}') from None
        self._controls.clock.advance(seconds)
        return JSONResponse({"now": self._controls.clock.now()})

    async def _reset(self, request: Request) -> Response:
        await self._controls.reset()
        return JSONResponse({"ok": True})

    async def _kill(self, request: Request) -> Response:
        await self._controls.kill_machine(self._machine(request.path_params["key"]).id)
        return JSONResponse({"ok": True})

    async def _clone(self, request: Request) -> Response:
        machine = self._machine(request.path_params["key"])
        region = _read_region(await read_json(request))
        clone = await self._controls.clone_machine(machine.id, region=region)
        return JSONResponse(machine_view(clone), 201)

    def _machine(self, key: str) -> Machine:
        """The machine with this id or unambiguous name. Raises ApiError."""
        fleet = self._controls.fleet
        found = [machine for machine in fleet.machines if key in (machine.id, machine.name)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{machine.name} ({machine.id})" for machine in found or fleet.machines)
        problem = f'several machines are named "{key}"' if found else f'there is no machine "{key}"'
        raise ApiError(409 if found else 404, f"{problem}; expected one of {known or 'none'}")

    def _logged_machine_id(self, key: str) -> str:
        """An id in the log, even of a destroyed machine, or the id of a current machine."""
        return key if self._controls.journal.log_of(key) else self._machine(key).id


def _read_region(data: dict[str, Any]) -> str | None:
    region = data.get("region")
    if region is not None and not isinstance(region, str):
        raise ApiError(400, f'region is {region!r}; expected the code of a region, such as "ams"')
    if region is not None and not is_region(region):
        codes = [code for code, each in REGIONS.items() if each.current]
        hint = suggest(region, codes)
        raise ApiError(400, f'there is no region "{region}"{hint}; expected one of {", ".join(codes)}')
    return region


async def _server_sent(subscription: Subscription) -> AsyncIterator[bytes]:
    yield b": events of flysim, named by their type\n\n"
    async for event in subscription:
        yield encode_server_sent(event) if event else b": heartbeat\n\n"
    if subscription.is_dropped:
        yield b": dropped because the client reads too slowly\n\n"


async def _follow(
    lines: list[MachineLogged | ProxyLogged], machine_id: str | None, subscription: Subscription
) -> AsyncIterator[bytes]:
    for line in lines:
        yield encode_line(line)
    async for event in subscription:
        if isinstance(event, MachineLogged | ProxyLogged) and machine_id in (None, event.machine_id):
            yield encode_line(event)

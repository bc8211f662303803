"""Fake simulator for scenario tests: real HTTP and WebSocket on loopback, but no machines and no proxy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.server import ServerState

from simulator.clock import Clock
from simulator.config.model import AppConfig, Config, MachineSpec
from simulator.errors import InputError
from simulator.events import Bus, ExchangeAnswered, MachineLogged
from simulator.faults.base import Fault
from simulator.journal import Journal
from simulator.results import Finding, Fix
from simulator.routing.model import App, Fleet, Machine, MachineState
from simulator.routing.trace import Cause, Hop, Outcome, Trace

AMS = Machine("d8dd626f379508", "ams-1", "chat", "ams")
DFW = Machine("286533db064e58", "dfw-1", "chat", "dfw")
CLONE_ID = "4d891ee9b43e08"


def make_config() -> Config:
    app = App("chat")
    machines = tuple(MachineSpec(one.id, one.name, one.app, one.region) for one in (AMS, DFW))
    return Config(Path(), {"ams": 0, "dfw": 0}, (AppConfig(app, machines),))


class FakeSimulator:
    """Its edges respond themselves, with traces that look as if the proxy had delivered the request.

    `?instance=` and the cookie `fly-machine-id` select the machine, as in the sample app.
    """

    control_url = "http://127.0.0.1:4280"

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or make_config()
        self.bus = Bus()
        self.clock = Clock(realtime=False)
        self.journal = Journal(self.bus)
        self.fleet = Fleet.of([App("chat")], [AMS, DFW])
        self.edges: dict[str, str] = {}
        self.extra_ports: dict[str, dict[int, str]] = {}
        self.resets = 0
        self.findings_by_error: dict[str, tuple[str, ...]] = {}
        self.faults: list[Fault] = []
        self.healed: list[Fault | str] = []
        self._count = 0
        self._parts = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for edge in self.config.edges:
            self.edges[edge] = await self._listen(edge)
        return self

    async def _listen(self, edge: str) -> str:
        """Use uvicorn's protocols without its `Server`, which checks only ten times a second whether to stop."""
        config = uvicorn.Config(self._app(edge), log_level="critical", lifespan="off", ws="websockets-sansio")
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}),
            "127.0.0.1",
            0,
        )
        self._parts.push_async_callback(_stop, server, state)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._parts.aclose()

    def ready(self) -> dict[str, Any]:
        return {"edges": self.edges}

    def find_machine(self, key: str) -> Machine:
        for machine in self.fleet.machines:
            if key in (machine.id, machine.name):
                return machine
        raise InputError(f"no machine {key}")

    def findings(self, trace: Trace) -> list[Finding]:
        ids = self.findings_by_error.get(trace.error or "", ())
        return [Finding(id, "a cause", Fix("a fix"), trace.request_id) for id in ids]

    # Operations of the protocol `RunningSimulator`.

    async def reset(self) -> None:
        self.resets += 1
        self.fleet = Fleet.of([App("chat")], [AMS, DFW])
        self.journal.clear()

    def _change(self, machine_id: str, **changes: Any) -> None:
        self.fleet = self.fleet.with_machine(replace(self.find_machine(machine_id), **changes))

    async def start_machine(self, machine_id: str) -> None:
        self._change(machine_id, state=MachineState.STARTED)

    async def stop_machine(self, machine_id: str) -> None:
        self._change(machine_id, state=MachineState.STOPPED)

    async def kill_machine(self, machine_id: str) -> None:
        self._change(machine_id, state=MachineState.FAILED)

    async def suspend_machine(self, machine_id: str) -> None:
        self._change(machine_id, state=MachineState.SUSPENDED)

    async def destroy_machine(self, machine_id: str) -> None:
        rest = [machine for machine in self.fleet.machines if machine.id != machine_id]
        self.fleet = Fleet.of([App("chat")], rest)

    async def cordon(self, machine_id: str) -> None:
        self._change(machine_id, cordoned=True)

    async def uncordon(self, machine_id: str) -> None:
        self._change(machine_id, cordoned=False)

    async def clone_machine(self, machine_id: str, *, region: str | None = None) -> Machine:
        clone = replace(self.find_machine(machine_id), id=CLONE_ID, name="dfw-2", region=region or "dfw")
        self.fleet = self.fleet.with_machine(clone)
        return clone

    async def inject(self, fault: Fault) -> None:
        self.faults.append(fault)

    async def heal(self, which: Fault | str) -> None:
        self.healed.append(which)

    def log(self, machine: Machine, line: str) -> None:
        self.bus.publish(
            MachineLogged(
                self.clock.now(), machine.id, machine.name, machine.app, machine.region, "stdout", line
            )
        )

    # The edges.

    def _app(self, edge: str) -> ASGIApp:
        inner = Starlette(
            routes=[
                Route("/echo", _echo, methods=["GET", "POST", "PUT"]),
                Route("/set", _set),
                Route("/redirect", _redirect, methods=["GET", "POST"]),
                Route("/away", _away),
                Route("/round", lambda _: RedirectResponse("/round", 302)),
                Route("/slow", _slow),
                Route("/log", self._log),
                Route("/later", self._later),
                Route("/reject", _reject),
                WebSocketRoute("/ws", _ws),
                WebSocketRoute("/ws/refused", _refuse),
            ]
        )

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            request_id = self._next_id(edge)

            async def send_traced(message: Message) -> None:
                if message["type"] in (
                    "http.response.start",
                    "websocket.accept",
                    "websocket.http.response.start",
                ):
                    message["headers"] = [
                        *message.get("headers", ()),
                        (b"fly-request-id", request_id.encode()),
                    ]
                    self._publish(scope, edge, request_id, message.get("status", 101))
                await send(message)

            await inner(scope, receive, send_traced)

        return traced

    def _next_id(self, edge: str) -> str:
        self._count += 1
        return f"{self._count:026}-{edge}"

    def _publish(self, scope: Scope, edge: str, request_id: str, status: int) -> None:
        request, now = HTTPConnection(scope), self.clock.now()
        wanted = request.query_params.get("instance") or request.cookies.get("fly-machine-id")
        first = AMS if edge == "ams" else DFW
        target = self.fleet.find(wanted) if wanted else first
        is_rejected = target is None or scope["path"] == "/reject"
        hops = [
            Hop(
                first.id,
                first.name,
                "chat",
                edge,
                Cause.ROUTED,
                now,
                now + 0.003,
                status=307 if wanted else status,
            )
        ]
        if target is not None and target is not first:
            hops.append(
                Hop(target.id, target.name, "chat", target.region, Cause.REPLAY, now, now, status=status)
            )
        trace = Trace(
            request_id=request_id,
            edge=edge,
            app="chat",
            method=scope.get("method", "GET"),
            target=scope["path"],
            host="127.0.0.1",
            scheme="http",
            started_at=now,
            answered_at=now + 0.012,
            hops=tuple(hops),
            outcome=Outcome.REJECTED if is_rejected else Outcome.RELAYED,
            status=status,
            error="PR04" if is_rejected else None,
            message="no candidate" if is_rejected else None,
            websocket=status == 101,
        )
        self.bus.publish(ExchangeAnswered(now, trace))

    async def _log(self, request: Request) -> Response:
        self.log(self.find_machine(request.query_params["machine"]), request.query_params["line"])
        return PlainTextResponse("logged")

    async def _later(self, request: Request) -> Response:
        """Log a line after the response is sent."""
        machine, line = self.find_machine(request.query_params["machine"]), request.query_params["line"]
        asyncio.get_running_loop().call_later(0.05, self.log, machine, line)
        return PlainTextResponse("soon")


async def _stop(server: asyncio.Server, state: ServerState) -> None:
    server.close()
    tasks = list(state.tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in list(state.connections):
        connection.transport.abort()


async def _echo(request: Request) -> Response:
    return JSONResponse(
        {
            "method": request.method,
            "url": str(request.url),
            "headers": dict(request.headers),
            "body": (await request.body()).decode(),
            "size": len(await request.body()),
            "query": dict(request.query_params),
        }
    )


async def _set(request: Request) -> Response:
    response = PlainTextResponse("set")
    for value in request.query_params.getlist("cookie"):
        response.raw_headers.append((b"set-cookie", value.encode()))
    return response


async def _redirect(request: Request) -> Response:
    response = RedirectResponse("/echo", 302)
    response.set_cookie("seen", "redirect", path="/")
    return response


async def _away(request: Request) -> Response:
    return RedirectResponse("https://example.com/", 302)


async def _slow(request: Request) -> Response:
    await asyncio.sleep(2)
    return PlainTextResponse("at last")


async def _reject(request: Request) -> Response:
    return Response(status_code=502)


async def _ws(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
    await websocket.send_json(
        {"type": "hello", "cookies": websocket.cookies, "origin": websocket.headers["origin"]}
    )
    try:
        while True:
            message = await websocket.receive()
            if message["type"] != "websocket.receive":
                return
            if message.get("text") == "close":
                await websocket.close(4000, "as you wish")
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return


async def _refuse(websocket: WebSocket) -> None:
    await websocket.send_denial_response(PlainTextResponse("not for you", 403))

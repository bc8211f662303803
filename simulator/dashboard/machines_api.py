"""Fly's Machines API, as far as flysim implements it: list, get, start, stop, suspend, cordon, destroy, wait.

Shapes and statuses: Fly's Machines API reference. The responses to a wrong state (412, `failed_precondition`) and to
a wait that times out (408, `deadline_exceeded`) are as observed on Fly. Unlike on Fly, an action has finished when the
response is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.config.fly.model import FlyService
from simulator.dashboard.controls import Controls
from simulator.dashboard.machine_history import MachineHistories, api_machine
from simulator.dashboard.responses import ApiError, JSONResponse, read_flag, read_number
from simulator.dashboard.stream import Streams, Subscription
from simulator.events import FleetChanged, MachineStateChanged
from simulator.routing.model import Machine, MachineState

DEFAULT_WAIT_SECONDS = 60
MAX_WAIT_SECONDS = 600

_AT_REST = frozenset(
    {MachineState.CREATED, MachineState.STOPPED, MachineState.SUSPENDED, MachineState.FAILED}
)

Action = Callable[[str], Awaitable[None]]


class MachinesApi:
    def __init__(self, controls: Controls, histories: MachineHistories, streams: Streams) -> None:
        self._controls = controls
        self._histories = histories
        self._streams = streams

    def routes(self) -> list[Route]:
        machines = "/v1/apps/{app}/machines"
        machine = machines + "/{id}"
        controls = self._controls
        return [
            Route(machines, self._list, methods=["GET"]),
            Route(machine, self._get, methods=["GET"]),
            Route(machine, self._destroy, methods=["DELETE"]),
            Route(f"{machine}/wait", self._wait, methods=["GET"]),
            Route(f"{machine}/start", self._start, methods=["POST"]),
            Route(
                f"{machine}/stop",
                self._endpoint(controls.stop_machine, MachineState.STOPPED),
                methods=["POST"],
            ),
            Route(
                f"{machine}/suspend",
                self._endpoint(controls.suspend_machine, MachineState.SUSPENDED),
                methods=["POST"],
            ),
            Route(f"{machine}/cordon", self._endpoint(controls.cordon), methods=["POST"]),
            Route(f"{machine}/uncordon", self._endpoint(controls.uncordon), methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        region = request.query_params.get("region")
        machines = self._controls.fleet.of_app(self._app(request))
        return JSONResponse([self._view(machine) for machine in machines if region in (None, machine.region)])

    async def _get(self, request: Request) -> Response:
        return JSONResponse(self._view(self._machine(request)))

    async def _start(self, request: Request) -> Response:
        machine = self._machine(request)
        if machine.state is not MachineState.STARTED:
            await self._controls.start_machine(machine.id)
        return JSONResponse({"previous_state": machine.state, "migrated": False, "new_host": ""})

    def _endpoint(
        self, action: Action, goal: MachineState | None = None
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that runs `action`, unless the machine is already in the `goal` state."""

        async def endpoint(request: Request) -> Response:
            machine = self._machine(request)
            if goal is None or machine.state is not goal:
                await action(machine.id)
            return JSONResponse({"ok": True})

        return endpoint

    async def _destroy(self, request: Request) -> Response:
        machine = self._machine(request)
        if not read_flag(request, "force") and machine.state not in _AT_REST:
            problem = "unable to destroy machine, not currently stopped, suspended, failed or created"
            raise ApiError(
                412, f"failed_precondition: {problem}; it is {machine.state} (?force=true destroys it)"
            )
        await self._controls.destroy_machine(machine.id)
        return JSONResponse({"ok": True})

    async def _wait(self, request: Request) -> Response:
        app, machine_id = self._app(request), request.path_params["id"]
        goal = _read_state(request)
        seconds = read_number(request, "timeout", DEFAULT_WAIT_SECONDS, minimum=1, maximum=MAX_WAIT_SECONDS)
        subscription = self._streams.subscribe(FleetChanged, MachineStateChanged)
        try:
            async with asyncio.timeout(seconds):
                return await self._wait_until(app, machine_id, goal, subscription)
        except TimeoutError:
            machine = self._find(app, machine_id)
            state = machine.state if machine else "destroyed"
            problem = f"machine failed to reach desired state, {goal}, currently {state}"
            raise ApiError(408, f"deadline_exceeded: {problem}") from None
        finally:
            subscription.end()

    async def _wait_until(
        self, app: str, machine_id: str, goal: MachineState, subscription: Subscription
    ) -> Response:
        if self._has_reached(app, machine_id, goal):
            return JSONResponse({"ok": True})
        async for event in subscription:
            has_passed = isinstance(event, MachineStateChanged) and (event.machine_id, event.after) == (
                machine_id,
                goal,
            )
            if has_passed or self._has_reached(app, machine_id, goal):
                return JSONResponse({"ok": True})
        raise ApiError(503, "the simulator is stopping")

    def _has_reached(self, app: str, machine_id: str, goal: MachineState) -> bool:
        """Raises ApiError if the machine can no longer reach the state."""
        machine = self._find(app, machine_id)
        if machine is not None:
            return machine.state is goal
        if goal is MachineState.DESTROYED and self._histories.is_destroyed(app, machine_id):
            return True
        raise self._unknown_machine(app, machine_id)

    def _app(self, request: Request) -> str:
        name = str(request.path_params["app"])
        apps = self._controls.fleet.apps
        if name not in apps:
            raise ApiError(404, f'there is no app "{name}"; expected one of {", ".join(apps)}')
        return name

    def _machine(self, request: Request) -> Machine:
        app, machine_id = self._app(request), str(request.path_params["id"])
        machine = self._find(app, machine_id)
        if machine is None:
            raise self._unknown_machine(app, machine_id)
        return machine

    def _find(self, app: str, machine_id: str) -> Machine | None:
        machine = self._controls.fleet.find(machine_id)
        return machine if machine is not None and machine.app == app else None

    def _unknown_machine(self, app: str, machine_id: str) -> ApiError:
        if self._histories.is_destroyed(app, machine_id):
            return ApiError(404, f'machine "{machine_id}" is destroyed')
        known = ", ".join(f"{machine.id} ({machine.name})" for machine in self._controls.fleet.of_app(app))
        return ApiError(404, f'app {app} has no machine "{machine_id}"; expected one of {known or "none"}')

    def _view(self, machine: Machine) -> dict[str, Any]:
        spec = self._controls.spec_of(machine.id)
        services = self._services(machine.app)
        if not services and spec:
            services = (FlyService(internal_port=spec.internal_port),)
        return api_machine(machine, self._histories.of(machine.id), spec, services)

    def _services(self, app: str) -> tuple[FlyService, ...]:
        of_app = [config.fly for config in self._controls.config.apps if config.app.name == app]
        return of_app[0].services if of_app and of_app[0] else ()


def _read_state(request: Request) -> MachineState:
    text = request.query_params.get("state", MachineState.STARTED.value)
    try:
        return MachineState(text)
    except ValueError:
        states = ", ".join(MachineState)
        raise ApiError(400, f'state is "{text}"; expected one of {states}') from None

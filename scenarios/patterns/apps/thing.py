"""Does what a request tells it to, and tells what came: for edge cases, where the app is not the point.

    Do-Replay: instance=…      the value of fly-replay, unless this machine is the target of a replay already
    Do-Json: {…}               the same as a replay body
    Do-Always: yes             replay even then
    Do-Status: 409             the status of the replaying answer
    Do-Cache: /x/*; Do-Bypass  cache the replay for a minute, and whether a client may pass the cache by
    Do-Invalidate: instance=…  what to answer when a remembered replay comes here
    Do-Die: yes                end this machine with the replaying answer
    Do-Target-Status: 500      the status of the final answer
    Do-Old: yes                speak HTTP/1.0, as old programs do, and end each answer by closing the connection

`/hold` is held until `/release`, or until this machine is told to stop. `/events` is a stream. `/sick` and `/well` say
what `/healthz` is to answer.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

from web import MACHINE, Request, Response, json_response, replay, serve, servers

KIND = "application/vnd.fly.replay+json"
TOLD = (
    "fly-replay-src",
    "fly-replay-failed",
    "fly-replay-cache-status",
    "fly-preferred-instance-unavailable",
)
released = asyncio.Event()
health = {"status": 200, "held": 0}


async def app(request: Request) -> Response | None:
    do = {name[3:]: value for name, value in request.headers.items() if name.startswith("do-")}
    is_hit = request.headers.get("fly-replay-cache-status") == "hit"
    if is_hit and "invalidate" in do:
        return replay(do["invalidate"], fly_replay_cache="invalidate")
    is_target = any(name in request.headers for name in TOLD[:2]) or is_hit
    if ("replay" in do or "json" in do) and ("always" in do or not is_target):
        return await send_on(request, do)
    if request.is_upgrade:
        await echo(request)
        return None
    return await answer(request, do)


async def send_on(request: Request, do: dict[str, str]) -> Response | None:
    status = int(do.get("status", 307))
    if request.path == "/hold":
        await hold()
    if "old" in do:
        await request.raw(f"HTTP/1.0 {status} Elsewhere\r\nfly-replay: {do['replay']}\r\n\r\nnot here")
        return None
    if "die" in do:
        servers[0].close()  # first of all, lest a connection is accepted that nobody will answer
        await request.raw(f"HTTP/1.1 {status} Bye\r\nfly-replay: {do['replay']}\r\nConnection: close\r\n\r\n")
        os._exit(1)
    if status == 101:
        await request.accept({"fly-replay": do["replay"]})
        return None
    if "json" in do:
        return Response(status, do["json"], {"Content-Type": KIND})
    response = replay(do["replay"], status)
    if "cache" in do:
        response.headers |= {"fly-replay-cache": do["cache"], "fly-replay-cache-ttl-secs": "60"}
    if "bypass" in do:
        response.headers["fly-replay-cache-allow-bypass"] = do["bypass"]
    return response


async def echo(request: Request) -> None:
    socket = await request.accept()
    await socket.send(MACHINE)
    async for text in socket:
        await socket.send(text)


async def answer(request: Request, do: dict[str, str]) -> Response | None:
    match request.path:
        case "/healthz":
            return Response(health["status"])
        case "/sick" | "/well":
            health["status"] = 503 if request.path == "/sick" else 200
            return Response(204)
        case "/hold":
            await hold()
        case "/release":
            released.set()
            return Response(204)
        case "/events":
            return Response(200, events(), {"Content-Type": "text/event-stream"})
    told = {name: request.headers[name] for name in TOLD if name in request.headers}
    state = request.field("fly-replay-src", "state")
    data = {
        "machine": MACHINE,
        "told": told,
        "state": state,
        "bytes": len(request.body),
        "held": health["held"],
    }
    if "old" in do:
        await request.raw(f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold {MACHINE}")
        return None
    return json_response(data, int(do.get("target-status", 200)))


async def hold() -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)
    sys.stderr.write("holding\n")
    await released.wait()
    health["held"] += 1
    released.clear()


def stop() -> None:
    """What is under way is finished, then it is over."""
    released.set()
    asyncio.get_running_loop().call_later(0.2, os._exit, 0)


async def events() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"data: {number} from {MACHINE}\n\n".encode()
        await asyncio.sleep(0.01)


serve(app)

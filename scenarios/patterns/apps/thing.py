"""Test app for edge cases: follows instructions in request headers and returns what it received.

    Do-Replay: instance=…      respond with this fly-replay header, unless this request is a replay already
    Do-Json: {…}               respond with this replay body instead
    Do-Always: yes             replay even a replayed request
    Do-Status: 409             status of the replaying response
    Do-Cache: /x/*; Do-Bypass  cache the replay for a minute, and whether a client may bypass the cache
    Do-Invalidate: instance=…  replay to respond with, and to invalidate the cache, when a cached replay arrives
    Do-Die: yes                exit after the replaying response
    Do-Target-Status: 500      status of the final response
    Do-Old: yes                use HTTP/1.0 and end each response by closing the connection

`/hold` responds after `/release`, or when the machine is asked to stop. `/events` is an event stream. After
`/fail-checks`, `/healthz` responds with 503, until `/pass-checks`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

from web import MACHINE, Request, Response, json_response, replay, serve, servers

KIND = "application/vnd.fly.replay+json"
PROXY_HEADERS = (
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
    is_target = any(name in request.headers for name in PROXY_HEADERS[:2]) or is_hit
    if ("replay" in do or "json" in do) and ("always" in do or not is_target):
        return await respond_with_replay(request, do)
    if request.is_upgrade:
        await echo(request)
        return None
    return await respond(request, do)


async def respond_with_replay(request: Request, do: dict[str, str]) -> Response | None:
    status = int(do.get("status", 307))
    if request.path == "/hold":
        await hold()
    if "old" in do:
        await request.raw(f"HTTP/1.0 {status} Elsewhere\r\nfly-replay: {do['replay']}\r\n\r\nnot here")
        return None
    if "die" in do:
        servers[0].close()  # First, so that no further connection is accepted.
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


async def respond(request: Request, do: dict[str, str]) -> Response | None:
    match request.path:
        case "/healthz":
            return Response(health["status"])
        case "/fail-checks" | "/pass-checks":
            health["status"] = 503 if request.path == "/fail-checks" else 200
            return Response(204)
        case "/hold":
            await hold()
        case "/release":
            released.set()
            return Response(204)
        case "/events":
            return Response(200, events(), {"Content-Type": "text/event-stream"})
    proxy_headers = {name: request.headers[name] for name in PROXY_HEADERS if name in request.headers}
    state = request.field("fly-replay-src", "state")
    data = {
        "machine": MACHINE,
        "proxy_headers": proxy_headers,
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
    """Lets open requests finish, then exits."""
    released.set()
    asyncio.get_running_loop().call_later(0.2, os._exit, 0)


async def events() -> AsyncIterator[bytes]:
    for number in range(3):
        yield f"data: {number} from {MACHINE}\n\n".encode()
        await asyncio.sleep(0.01)


serve(app)

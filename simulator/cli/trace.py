"""`flysim trace`: one request through a running simulator, told hop by hop."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from simulator.cli import console
from simulator.cli.options import DEFAULT_CONTROL, ControlOption
from simulator.cli.remote import Control, JsonOption
from simulator.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    import httpx

_REQUEST_SECONDS = 60.0


def trace(
    url: Annotated[str, typer.Argument(help="A URL at an edge, or a path at the first one.")],
    method: Annotated[
        str | None, typer.Option("-X", "--request", metavar="METHOD", help="Default: GET.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="May be repeated.")
    ] = None,
    cookie: Annotated[
        list[str] | None, typer.Option("-b", "--cookie", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    data: Annotated[str | None, typer.Option("-d", "--data", help="The body; makes it a POST.")] = None,
    edge: Annotated[str | None, typer.Option(metavar="REGION", help="Send it to this edge instead.")] = None,
    websocket: Annotated[bool, typer.Option("--ws", help="A WebSocket handshake.")] = False,
    control: ControlOption = DEFAULT_CONTROL,
    as_json: JsonOption = False,
) -> None:
    """Send one request and show each hop it made, with times and the headers that matter.

    Example: flysim trace 'http://127.0.0.1:8080/?instance=286533db064e58'
    """
    api = Control(control)
    headers = _read_headers(header or [], cookie or [])
    address = _find_address(api, url, edge)
    if websocket:
        request_id = asyncio.run(_shake_hands(address, headers))
    else:
        request_id = _request(address, method or ("POST" if data is not None else "GET"), headers, data)
    _show(api, request_id, as_json=as_json)


def _read_headers(headers: list[str], cookies: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in headers:
        name, separator, value = text.partition(":")
        if not separator or not name.strip():
            raise InputError(f"-H {text!r} is not a header", expected="'Name: value'")
        pairs.append((name.strip(), value.strip()))
    if cookies:
        pairs.append(("Cookie", "; ".join(cookies)))
    return pairs


def _find_address(api: Control, url: str, edge: str | None) -> str:
    parts = urlsplit(url)
    if edge is None and parts.scheme:
        return url
    edges: dict[str, str] = api.get("/_flysim/status")["edges"]
    if edge is not None and edge not in edges:
        raise InputError(f"there is no edge {edge!r}", expected=f"one of {', '.join(edges)}")
    base = edges[edge] if edge is not None else next(iter(edges.values()))
    return base + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _request(url: str, method: str, headers: list[tuple[str, str]], data: str | None) -> str:
    import httpx

    try:
        with (
            httpx.Client(timeout=_REQUEST_SECONDS, trust_env=False, verify=False) as client,
            client.stream(method, url, headers=headers, content=data) as response,
        ):
            return _request_id(response.headers, url)  # an event stream need not end
    except httpx.ConnectError as error:
        raise _nobody_there(url) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InputError(
            f"{url!r} is not a URL that can be asked", expected="http://127.0.0.1:8080/path"
        ) from error
    except httpx.HTTPError as error:
        raise EnvironmentFault(f"no answer from {url}: {error or type(error).__name__}") from error


async def _shake_hands(url: str, headers: list[tuple[str, str]]) -> str:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    address = url.replace("http", "ws", 1) if url.startswith("http") else url
    try:
        async with connect(
            address, additional_headers=headers, open_timeout=_REQUEST_SECONDS, proxy=None
        ) as socket:
            assert socket.response is not None
            return _request_id(socket.response.headers, url)
    except InvalidStatus as error:
        return _request_id(error.response.headers, url)
    except InvalidURI as error:
        raise InputError(
            f"{url!r} is not a URL that can be asked", expected="http://127.0.0.1:8080/ws"
        ) from error
    except OSError as error:
        raise _nobody_there(url) from error
    except InvalidHandshake as error:
        raise EnvironmentFault(f"the WebSocket handshake with {url} failed: {error}") from error


def _request_id(headers: httpx.Headers | Any, url: str) -> str:
    request_id: str | None = headers.get("fly-request-id")
    if request_id is None:
        raise EnvironmentFault(
            f"what answers at {url} is not an edge of flysim: its response has no fly-request-id",
            mend="give the URL of an edge, as flysim status prints them",
        )
    return request_id


def _nobody_there(url: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"nothing listens at {url}", mend="start the fleet with flysim up, or flysim demo"
    )


def _show(api: Control, request_id: str, *, as_json: bool) -> None:
    from simulator.routing.trace import Trace
    from simulator.scenario.ladder import ladder

    found = api.get(f"/_flysim/traces/{request_id}")
    if as_json:
        console.say(json.dumps(found, indent=2))
        return
    console.say(ladder(Trace.from_dict(found), headers=True))
    for finding in api.get("/_flysim/findings"):
        if finding["request_id"] == request_id:
            console.say(f"\n{finding['id']}: {finding['cause']}\n  mend: {finding['mend']}")

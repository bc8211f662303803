"""`flysim trace`: one request through a running simulator, shown hop by hop."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from simulator.cli import console
from simulator.cli.control import ControlClient
from simulator.cli.options import DEFAULT_CONTROL, ControlOption, JsonOption
from simulator.cli.trace_target import Target, find_target
from simulator.errors import EnvironmentFault, InputError
from simulator.text import encode_uri

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 60.0
_SLOW_SECONDS = 2.0
_CLOSE_SECONDS, _POLL_SECONDS = 2.0, 0.05
"""How long the proxy may take to notice that the client has disconnected, and how often to check."""


def trace(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="The URL of an edge, a path, or the URL of your app on Fly. Always sent to an edge.",
        ),
    ],
    method: Annotated[
        str | None,
        typer.Option("-X", "--request", metavar="METHOD", help="The request method. Default: GET."),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="Add a header. Repeatable."),
    ] = None,
    cookie: Annotated[
        list[str] | None,
        typer.Option("-b", "--cookie", metavar="NAME=VALUE", help="Send a cookie. Repeatable."),
    ] = None,
    data: Annotated[
        str | None, typer.Option("-d", "--data", help="The request body. Makes the request a POST.")
    ] = None,
    edge: Annotated[str | None, typer.Option(metavar="REGION", help="Send the request to this edge.")] = None,
    websocket: Annotated[
        bool, typer.Option("--ws", help="Send a WebSocket handshake, like a ws:// URL.")
    ] = False,
    seconds: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait for the response."),
    ] = _TIMEOUT_SECONDS,
    control: ControlOption = DEFAULT_CONTROL,
    as_json: JsonOption = False,
) -> None:
    """Send one request and show each hop it takes.

    Shows the time of each hop, the headers that matter for routing, and an explanation if something went wrong.

    Example: flysim trace 'http://127.0.0.1:8080/?instance=286533db064e58'
    """
    api = ControlClient(control)
    headers = _read_headers(header or [], cookie or [])
    status = api.get("/_flysim/status")
    target = find_target(url, status["edges"], edge)
    is_websocket = websocket or target.is_websocket
    if is_websocket and (method is not None or data is not None):
        raise InputError(
            "a WebSocket handshake is a GET request without a body", expected="--ws without -X and -d"
        )
    if target.host and not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", target.host))
        console.print_note(
            f"sending the request to edge {target.edge} with Host: {target.host}", quiet=as_json
        )
    try:
        with _slow_response_note():
            if is_websocket:
                request_id = asyncio.run(_websocket_handshake(target, headers, seconds))
            else:
                method = method or ("GET" if data is None else "POST")
                request_id = _request(target, method, headers, data, seconds)
    except NoResponse:
        if aborted := _find_aborted(api, target, status["clock"]["now"]):
            _print_trace(api, aborted, as_json=as_json, is_websocket=is_websocket)
        raise
    _print_trace(api, request_id, as_json=as_json, is_websocket=is_websocket)


class NoResponse(EnvironmentFault):
    """The edge accepted the connection, but sent no response in time."""


def _find_aborted(api: ControlClient, target: Target, since: float) -> str | None:
    """The id of the exchange that ended without a response, and so without a Fly-Request-Id header."""
    from simulator.retry import poll_blocking

    parts = urlsplit(encode_uri(target.url).decode())
    # Compared without percent-encoding, which the client library may have changed.
    path = unquote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))

    def find() -> str | None:
        for trace in reversed(api.get("/_flysim/traces")):
            was_aborted = trace["status"] is None and trace["outcome"] != "pending"
            is_ours = (trace["edge"], unquote(trace["target"])) == (target.edge, path)
            if was_aborted and is_ours and trace["started_at"] >= since:
                return str(trace["request_id"])
        return None

    return poll_blocking(find, timeout_seconds=_CLOSE_SECONDS, interval_seconds=_POLL_SECONDS)


@contextmanager
def _slow_response_note() -> Iterator[None]:
    """If the response is slow, print the possible reasons."""
    text = (
        "no response yet: as on Fly, the proxy retries a replay to an unavailable machine for 7.5 s, "
        "and waits for a machine that has received the request …"
    )
    timer = Timer(_SLOW_SECONDS, console.print_note, [text])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_headers(headers: list[str], cookies: list[str]) -> list[tuple[str, str]]:
    pairs = []
    for text in headers:
        name, separator, value = text.partition(":")
        if not separator or not name.strip():
            raise InputError(f"-H {text!r} is not a header", expected="'Name: value'")
        pairs.append((name.strip(), value.strip()))
    for text in cookies:
        if "=" not in text:
            raise InputError(f"-b {text!r} is not a cookie", expected="'name=value'")
    if cookies:
        pairs.append(("Cookie", "; ".join(cookies)))
    return pairs


def _request(
    target: Target, method: str, headers: list[tuple[str, str]], data: str | None, seconds: float
) -> str:
    import httpx

    url = target.url
    extensions = {"sni_hostname": target.server_name} if target.server_name else {}
    # The bytes of the command line, also those that are not UTF-8.
    encoded = [(os.fsencode(name), os.fsencode(value)) for name, value in headers]
    body = None if data is None else os.fsencode(data)
    try:
        with (
            httpx.Client(timeout=seconds, trust_env=False, verify=False) as client,
            client.stream(
                method, encode_uri(url).decode(), headers=encoded, content=body, extensions=extensions
            ) as response,
        ):
            return _request_id(response.headers, url)  # The body may be an endless event stream.
    except httpx.ConnectError as error:
        raise _connection_refused(url) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise _invalid_url(url) from error
    except (httpx.LocalProtocolError, UnicodeError) as error:
        raise InputError(
            f"cannot send the request: {error}", expected="a method and headers that are valid in HTTP"
        ) from error
    except httpx.HTTPError as error:
        raise _no_response(url, error, seconds) from error


async def _websocket_handshake(target: Target, headers: list[tuple[str, str]], seconds: float) -> str:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    class Connect(connect):
        def process_redirect(self, exc: Exception) -> Exception:
            return exc  # Show the redirect instead of following it.

    url, edge = target.url, urlsplit(encode_uri(target.url).decode())
    # websockets takes the Host header from the URL. `host` and `port` below send the connection to the edge.
    host = next((value for name, value in headers if name.lower() == "host"), edge.netloc)
    headers = [pair for pair in headers if pair[0].lower() != "host"]
    address = "ws" + edge._replace(netloc=host).geturl().removeprefix("http")
    tls = _unverified_tls() if edge.scheme == "https" else None
    try:
        async with Connect(
            address,
            host=edge.hostname,
            port=edge.port,
            additional_headers=headers,
            open_timeout=seconds,
            proxy=None,
            ssl=tls,
        ) as socket:
            assert socket.response is not None
            return _request_id(socket.response.headers, url)
    except InvalidStatus as error:
        return _request_id(error.response.headers, url)
    except InvalidURI as error:
        raise _invalid_url(url) from error
    except ConnectionRefusedError as error:
        raise _connection_refused(url) from error
    except (OSError, InvalidHandshake) as error:
        raise _no_response(url, error, seconds) from error


def _unverified_tls() -> ssl.SSLContext:
    """The edges' certificates come from flysim's own authority, which no trust store has."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request_id(headers: httpx.Headers | Any, url: str) -> str:
    request_id: str | None = headers.get("fly-request-id")
    if request_id is None:
        raise EnvironmentFault(
            f"the server at {url} is not an edge of flysim: its response has no fly-request-id",
            hint="use the URL of an edge; flysim status lists them",
        )
    return request_id


def _invalid_url(url: str) -> InputError:
    return InputError(f"{url!r} is not a valid URL", expected="a URL such as http://127.0.0.1:8080/path")


def _no_response(url: str, error: Exception, seconds: float) -> NoResponse:
    import httpx

    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return NoResponse(f"no response from {url} within {seconds:g} s", hint="set a longer --timeout")
    return NoResponse(f"no response from {url}: {error or type(error).__name__}")


def _connection_refused(url: str) -> EnvironmentFault:
    return EnvironmentFault(f"nothing listens at {url}", hint="start a fleet with flysim up or flysim demo")


def _print_trace(api: ControlClient, request_id: str, *, as_json: bool, is_websocket: bool) -> None:
    from simulator.report.hop_ladder import ladder
    from simulator.results import Finding
    from simulator.routing.trace import Trace

    trace = api.get(f"/_flysim/traces/{request_id}")
    if as_json:
        console.print_line(json.dumps(trace, indent=2))
        return
    console.print_line(
        ladder(Trace.from_dict(trace), headers=True, width=console.width(), as_websocket=is_websocket)
    )
    for finding in api.get("/_flysim/findings"):
        if finding["request_id"] == request_id:
            console.print_line(f"\n{Finding.from_dict(finding)}")

"""`flysim trace`: one request through a running simulator, told hop by hop."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from simulator.cli import console
from simulator.cli.control import Control
from simulator.cli.options import OF_THIS_FOLDER, ControlOption, JsonOption
from simulator.cli.trace_target import Target, find_target
from simulator.errors import EnvironmentFault, InputError

if TYPE_CHECKING:
    import httpx

_REQUEST_SECONDS = 60.0
_SILENCE_SECONDS = 2.0
_NEWS_SECONDS, _PAUSE_SECONDS = 2.0, 0.05
"""How long it may take the proxy to notice that we have gone."""


def trace(
    url: Annotated[
        str,
        typer.Argument(
            help="A URL at an edge, a path at the first one, or your app's own URL: it goes to an edge, too."
        ),
    ],
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
    websocket: Annotated[
        bool, typer.Option("--ws", help="A WebSocket handshake; ws:// means it, too.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long to wait for the answer.")
    ] = _REQUEST_SECONDS,
    control: ControlOption = OF_THIS_FOLDER,
    as_json: JsonOption = False,
) -> None:
    """Send one request and show each hop it made, with times and the headers that matter.

    Example: flysim trace 'http://127.0.0.1:8080/?instance=286533db064e58'
    """
    api = Control(control)
    headers = _read_headers(header or [], cookie or [])
    status = api.get("/_flysim/status")
    target = find_target(url, status["edges"], edge)
    is_websocket = websocket or target.is_websocket
    if is_websocket and (method is not None or data is not None):
        raise InputError("a WebSocket handshake is a GET without a body", expected="it without -X and -d")
    if target.host and not any(name.lower() == "host" for name, _ in headers):
        headers.insert(0, ("Host", target.host))
        console.note(f"to edge {target.edge} of the simulator, with Host: {target.host}", quiet=as_json)
    try:
        with _patience():
            if is_websocket:
                request_id = asyncio.run(_shake_hands(target, headers, seconds))
            else:
                usual = "GET" if data is None else "POST"
                request_id = _request(target, method or usual, headers, data, seconds)
    except NoAnswer:
        if unanswered := _find_unanswered(api, target, status["clock"]["now"]):
            _show(api, unanswered, as_json=as_json, is_websocket=is_websocket)
        raise
    _show(api, request_id, as_json=as_json, is_websocket=is_websocket)


class NoAnswer(EnvironmentFault):
    """The edge was there, and no answer came, or not in time."""


def _find_unanswered(api: Control, target: Target, since: float) -> str | None:
    """The exchange that was given up: without an answer nothing else tells its id."""
    parts = urlsplit(target.url)
    # Unquoted, both: how it was quoted on its way is the client library's affair.
    asked = unquote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    deadline = time.monotonic() + _NEWS_SECONDS
    while time.monotonic() < deadline:
        for trace in reversed(api.get("/_flysim/traces")):
            was_given_up = trace["status"] is None and trace["outcome"] != "pending"
            is_ours = (trace["edge"], unquote(trace["target"])) == (target.edge, asked)
            if was_given_up and is_ours and trace["started_at"] >= since:
                return str(trace["request_id"])
        time.sleep(_PAUSE_SECONDS)
    return None


@contextmanager
def _patience() -> Iterator[None]:
    """Say why nothing comes, if nothing comes for a while."""
    words = (
        "no answer yet; for a replay to a machine that is gone the proxy looks 7.5 s, as Fly's does, "
        "and for a machine that has the request it waits …"
    )
    timer = Timer(_SILENCE_SECONDS, console.note, [words])
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
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    try:
        with (
            httpx.Client(timeout=seconds, trust_env=False, verify=False) as client,
            client.stream(method, url, headers=encoded, content=data, extensions=extensions) as response,
        ):
            return _request_id(response.headers, url)  # an event stream need not end
    except httpx.ConnectError as error:
        raise _nobody_there(url) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise _no_url(url) from error
    except (httpx.LocalProtocolError, UnicodeError) as error:
        raise InputError(
            f"that cannot be sent: {error}", expected="a method and headers as HTTP allows them"
        ) from error
    except httpx.HTTPError as error:
        raise _no_answer(url, error, seconds) from error


async def _shake_hands(target: Target, headers: list[tuple[str, str]], seconds: float) -> str:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    class Connect(connect):
        def process_redirect(self, exc: Exception) -> Exception:
            return exc  # the answer is what was asked for

    url, edge = target.url, urlsplit(target.url)
    # The library writes the Host of the URL; the connection goes to the edge all the same.
    host = next((value for name, value in headers if name.lower() == "host"), edge.netloc)
    headers = [pair for pair in headers if pair[0].lower() != "host"]
    address = "ws" + edge._replace(netloc=host).geturl().removeprefix("http")
    tls = _any_certificate() if edge.scheme == "https" else None
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
        raise _no_url(url) from error
    except ConnectionRefusedError as error:
        raise _nobody_there(url) from error
    except (OSError, InvalidHandshake) as error:
        raise _no_answer(url, error, seconds) from error


def _any_certificate() -> ssl.SSLContext:
    """An edge's certificate is of an authority that flysim made itself."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request_id(headers: httpx.Headers | Any, url: str) -> str:
    request_id: str | None = headers.get("fly-request-id")
    if request_id is None:
        raise EnvironmentFault(
            f"what answers at {url} is not an edge of flysim: its response has no fly-request-id",
            hint="give the URL of an edge, as flysim status prints them",
        )
    return request_id


def _no_url(url: str) -> InputError:
    return InputError(f"{url!r} cannot be asked", expected="http://127.0.0.1:8080/path, or /path")


def _no_answer(url: str, error: Exception, seconds: float) -> NoAnswer:
    import httpx

    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return NoAnswer(
            f"no answer from {url} within {seconds:g} s", hint="wait longer with --timeout SECONDS"
        )
    return NoAnswer(f"no answer from {url}: {error or type(error).__name__}")


def _nobody_there(url: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"nothing listens at {url}", hint="start the fleet with flysim up, or flysim demo"
    )


def _show(api: Control, request_id: str, *, as_json: bool, is_websocket: bool) -> None:
    from simulator.report.hop_ladder import ladder
    from simulator.results import Finding
    from simulator.routing.trace import Trace

    found = api.get(f"/_flysim/traces/{request_id}")
    if as_json:
        console.say(json.dumps(found, indent=2))
        return
    console.say(
        ladder(Trace.from_dict(found), headers=True, width=console.width(), as_websocket=is_websocket)
    )
    for finding in api.get("/_flysim/findings"):
        if finding["request_id"] == request_id:
            console.say(f"\n{Finding.from_dict(finding)}")

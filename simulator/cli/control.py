"""Client of the control API of a running simulator."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from simulator.config.model import DEFAULT_CONTROL_PORT
from simulator.errors import EnvironmentFault, InputError, SimulatorError

if TYPE_CHECKING:
    import httpx

_TIMEOUT_SECONDS = 120.0
TOKEN_VARIABLE = "FLYSIM_CONTROL_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,}")
"""Characters that need no escape, neither in a header nor in a URL (RFC 3986 2.3)."""
_FLY_PREFIX = "failed_precondition: "


def default_control_url() -> str:
    """The URL from [control] in ./flysim.toml, else the default one. Errors in that file are ignored here."""
    port: object = None
    with suppress(OSError, ValueError, LookupError, TypeError):
        port = tomllib.loads(Path("flysim.toml").read_text(encoding="utf-8"))["control"]["port"]
    return f"http://127.0.0.1:{port if isinstance(port, int) and port else DEFAULT_CONTROL_PORT}"


class ControlClient:
    """Requests to the control API at `url`, or at `default_control_url()` if `url` is empty.

    The token, if the API requires one, is that of `url` (`?token=…`, as in the page's link), of FLYSIM_CONTROL_TOKEN or
    of the ready file that FLYSIM_READY names. Every method raises InputError or EnvironmentFault if the request fails.
    """

    def __init__(self, url: str) -> None:
        url, _, query = (url or default_control_url()).partition("?")
        has_no_scheme = re.fullmatch(r"[^/]+:[0-9]+/?", url)  # 127.0.0.1:4280
        self.url = (f"http://{url}" if has_no_scheme else url).rstrip("/")
        token = _find_token(query, self.url)
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(self, path: str, **parameters: Any) -> Any:
        return self._request("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._request("POST", path, json=body or {})

    def delete(self, path: str, **parameters: Any) -> Any:
        return self._request("DELETE", path, params=parameters)

    def find_machine(self, key: str) -> dict[str, Any]:
        """The machine with this name, id or app/name. Raises InputError that lists the candidates."""
        machines: list[dict[str, Any]] = self.get("/_flysim/status")["machines"]
        found = [m for m in machines if key in (m["id"], m["name"], f"{m['app']}/{m['name']}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{m['app']}/{m['name']} ({m['id']})" for m in found or machines)
        problem = f"several machines are named {key!r}" if found else f"there is no machine {key!r}"
        raise InputError(problem, expected=f"one of {known}")

    def _request(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        with _translated_errors(self.url):
            response = httpx.request(
                method,
                self.url + path,
                headers=self._headers,
                timeout=_TIMEOUT_SECONDS,
                trust_env=False,
                **options,
            )
        return _json_of(response)

    def stream(self, path: str, **parameters: Any) -> Iterator[Any]:
        """Yields one JSON value per line until the simulator stops."""
        import httpx

        with (
            _translated_errors(self.url),
            httpx.stream(
                "GET",
                self.url + path,
                params=parameters,
                headers=self._headers,
                timeout=None,
                trust_env=False,
            ) as response,
        ):
            if response.is_error:
                response.read()
                _json_of(response)
            for line in response.iter_lines():
                yield json.loads(line)


def check_token(token: str, source: str) -> str:
    """Raises InputError for text that cannot be a token, without repeating it: it may be another secret."""
    if not _TOKEN.fullmatch(token):
        raise InputError(
            f"{source} is not a token of the control API",
            expected="at least 16 letters, digits, '-', '.', '_' or '~', such as the output of openssl rand -hex 16",
        )
    return token


def _find_token(query: str, url: str) -> str | None:
    in_link = parse_qs(query).get("token")
    if in_link:
        return check_token(in_link[-1], "the token in --control or FLYSIM_CONTROL")
    token = os.environ.get(TOKEN_VARIABLE)
    return check_token(token, TOKEN_VARIABLE) if token else _ready_token(url)


def _ready_token(url: str) -> str | None:
    """The token in the ready file that FLYSIM_READY names, if that is of the simulator at `url`."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        ready = json.loads(Path(os.environ["FLYSIM_READY"]).read_text(encoding="utf-8"))
        return str(ready["control_token"]) if ready["control"] == url else None
    return None


def _json_of(response: httpx.Response) -> Any:
    """Raises SimulatorError for an error response, and for a response that is not from the control API."""
    try:
        content = response.json()
        if response.status_code == 401 and content["error"]:
            raise _token_error(response)
        if response.is_error:
            raise _error_from(content["error"], content.get("exit_status", InputError.exit_status))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise EnvironmentFault(
            f"the server at {response.url} is not flysim's control API (status {response.status_code})",
            hint="set the address of the control API with --control or FLYSIM_CONTROL",
        ) from None
    return content


def _token_error(response: httpx.Response) -> SimulatorError:
    host = f"{response.url.scheme}://{response.url.netloc.decode('ascii')}"
    is_sent = "Authorization" in response.request.headers
    return EnvironmentFault(
        f"the control API at {host} {'does not accept this token' if is_sent else 'requires a token'}",
        hint="flysim prints the token when it starts: set FLYSIM_CONTROL_TOKEN to it, or set --control or "
        "FLYSIM_CONTROL to the link of the page, with its ?token=…",
    )


def _error_from(text: str, exit_status: int) -> SimulatorError:
    kinds: dict[int, type[SimulatorError]] = {2: InputError, 3: EnvironmentFault}
    return kinds.get(exit_status, SimulatorError)(text.removeprefix(_FLY_PREFIX))


@contextmanager
def _translated_errors(url: str) -> Iterator[None]:
    """Raise flysim's errors instead of httpx's."""
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        raise EnvironmentFault(
            f"no simulator is running at {url}",
            hint="start one with flysim up, or set the address of its control API with --control or FLYSIM_CONTROL",
        ) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InputError(
            f"{url!r} is not the URL of a control API", expected="a URL such as http://127.0.0.1:4280"
        ) from error
    except httpx.HTTPError as error:
        raise EnvironmentFault(
            f"the control API at {url} did not respond: {error or type(error).__name__}"
        ) from error

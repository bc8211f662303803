"""A client of the control API of a simulator that is running already."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.config.model import DEFAULT_CONTROL_PORT
from simulator.errors import EnvironmentFault, InputError, SimulatorError

if TYPE_CHECKING:
    import httpx

_ACTION_SECONDS = 120.0
_FLYS_WORDS = "failed_precondition: "


def usual_control_url() -> str:
    """By [control] of the flysim.toml in this folder; what is wrong with that file is for others to say."""
    port: object = None
    with suppress(OSError, ValueError, LookupError, TypeError):
        port = tomllib.loads(Path("flysim.toml").read_text(encoding="utf-8"))["control"]["port"]
    return f"http://127.0.0.1:{port if isinstance(port, int) and port else DEFAULT_CONTROL_PORT}"


class Control:
    """A client of the control API at `url`; where that is empty, at the address that this folder's config gives it."""

    def __init__(self, url: str) -> None:
        url = url or usual_control_url()
        is_bare = re.fullmatch(r"[^/]+:[0-9]+/?", url)  # 127.0.0.1:4280
        self.url = (f"http://{url}" if is_bare else url).rstrip("/")

    def get(self, path: str, **parameters: Any) -> Any:
        return self._ask("GET", path, params=parameters)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=body or {})

    def delete(self, path: str, **parameters: Any) -> Any:
        return self._ask("DELETE", path, params=parameters)

    def find_machine(self, key: str) -> dict[str, Any]:
        """By name, id, or app/name. Raises InputError that lists the machines there are."""
        machines: list[dict[str, Any]] = self.get("/_flysim/status")["machines"]
        found = [m for m in machines if key in (m["id"], m["name"], f"{m['app']}/{m['name']}")]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{m['app']}/{m['name']} ({m['id']})" for m in found or machines)
        problem = f"{key!r} names several machines" if found else f"there is no machine {key!r}"
        raise InputError(problem, expected=f"one of {known}")

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        with _reaching(self.url):
            response = httpx.request(
                method, self.url + path, timeout=_ACTION_SECONDS, trust_env=False, **options
            )
        return _content(response)

    def follow(self, path: str, **parameters: Any) -> Iterator[Any]:
        """One JSON value after another, for as long as the simulator runs."""
        import httpx

        with (
            _reaching(self.url),
            httpx.stream(
                "GET", self.url + path, params=parameters, timeout=None, trust_env=False
            ) as response,
        ):
            if response.is_error:
                response.read()
                _content(response)
            for line in response.iter_lines():
                yield json.loads(line)


def _content(response: httpx.Response) -> Any:
    """Raises SimulatorError for an answer that is a refusal, or no answer of the control API."""
    try:
        content = response.json()
        if response.is_error:
            raise _refusal(content["error"], content.get("exit_status", InputError.exit_status))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise EnvironmentFault(
            f"what answers at {response.url} is not flysim's control API (status {response.status_code})",
            hint="give its address with --control or FLYSIM_CONTROL",
        ) from None
    return content


def _refusal(text: str, exit_status: int) -> SimulatorError:
    kinds: dict[int, type[SimulatorError]] = {2: InputError, 3: EnvironmentFault}
    return kinds.get(exit_status, SimulatorError)(text.removeprefix(_FLYS_WORDS))


@contextmanager
def _reaching(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except httpx.ConnectError as error:
        raise EnvironmentFault(
            f"no simulator answers at {url}",
            hint="start one with flysim up, or give its control API with --control or FLYSIM_CONTROL",
        ) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise InputError(
            f"{url!r} cannot be the URL of a control API", expected="one such as http://127.0.0.1:4280"
        ) from error
    except httpx.HTTPError as error:
        raise EnvironmentFault(
            f"the control API at {url} did not answer: {error or type(error).__name__}"
        ) from error

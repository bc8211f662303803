"""Route `/creator/<name>`: a link to a creator that works on every machine.

The machine looks up the host of the creator in the directory and replays to it. The host redirects the viewer to its
own page.

`STALE_DIRECTORY` makes the directory return a wrong host for unknown creators. The machine replays to that host
without checking whether it is itself, or whether the request was just replayed from there, so the request loops until
the proxy ends it. With `self`, every machine considers itself the host. With `bounce`, every machine considers the
first other machine the host, so two machines replay to each other. `STICKY_GUARD` prevents the loop: a request is
replayed only once.
"""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from sample_app.directory import Directory, Machine
from sample_app.request_log import printable
from sample_app.sticky import replay_response, was_replayed

log = logging.getLogger(__name__)


class CreatorLink:
    def __init__(
        self, directory: Directory, *, parameter: str, replays: bool, is_guarded: bool, stale: str | None
    ) -> None:
        self._directory = directory
        self._parameter = parameter
        self._replays = replays
        self._is_guarded = is_guarded
        self._stale = stale

    async def handle(self, request: Request) -> Response:
        own = self._directory.own
        slug = request.path_params["name"]
        host = self._directory.find_host(slug)
        if host and (host is own or not self._replays):
            return RedirectResponse(f"/?{self._parameter}={host.id}", 303)
        host = host or self._stale_host()
        if host is None or (self._is_guarded and was_replayed(request)):
            return PlainTextResponse("No creator has this name.\n", 404)
        log.info(
            "Incorrect machine %s based on creator %s, who is on %s. Redirect.",
            own.id,
            printable(slug),
            host.id,
        )
        return replay_response(host.id)

    def _stale_host(self) -> Machine | None:
        if self._stale is None:
            return None
        others = self._directory.others
        return others[0] if self._stale == "bounce" and others else self._directory.own

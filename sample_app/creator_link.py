"""`/creator/<name>`: an address that names a creator, not a machine; whichever machine is asked finds the host.

The machine looks the name up in the directory and replays to the host, which sends the viewer on to its own page.

With `STALE_DIRECTORY` the directory also lists creators who are long gone, and is wrong about them. The machine
replays to the host it reads there, without a look at whether that is itself or has just replayed to it; so
the request goes round until the proxy ends it. `self`: every machine believes that it is the host. `bounce`: every
machine believes that it is the first of the others, so two of them send the request to and fro. It is the
missing guard that makes this a loop: with `STICKY_GUARD` a request is replayed once.
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

    async def answer(self, request: Request) -> Response:
        own = self._directory.own
        slug = request.path_params["name"]
        host = self._directory.find_host(slug)
        if host and (host is own or not self._replays):
            return RedirectResponse(f"/?{self._parameter}={host.id}", 303)
        host = host or self._stale_host()
        if host is None or (self._is_guarded and was_replayed(request)):
            return PlainTextResponse("Nobody of that name streams here.\n", 404)
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

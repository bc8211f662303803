"""Bug handling of a client connection: a bug in flysim is reported, and the connection closes instead of hanging.

mitmproxy only logs an exception that its connection handler catches, and asyncio one that ends a task: the client would
wait forever. Bugs inside an exchange are handled earlier, by `ExchangeStream` and `EdgeLayer`, which still respond.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec

from mitmproxy.proxy.mode_servers import ProxyConnectionHandler

from simulator.proxy.core import ProxyCore

P = ParamSpec("P")


class BugReportingHandler(ProxyConnectionHandler):
    """mitmproxy's connection handler, which reports its bugs and then closes the client's connection."""

    _core: ProxyCore

    def log(self, message: str, level: int = logging.INFO, exc_info: Any = None) -> None:
        """mitmproxy calls this with `exc_info` wherever it catches an exception that it does not expect."""
        bug = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info else None
        if isinstance(bug, Exception):
            self._core.report_bug(bug)
            self.give_up()
        else:
            super().log(message, level, exc_info)

    def give_up(self) -> None:
        """Close the client's connection: after a bug, or because the proxy stops.

        Later, because its task may not exist yet, or may be the current one.
        """
        asyncio.get_running_loop().call_soon(self._cancel_client)

    def _cancel_client(self) -> None:
        transport = self.transports.get(self.client)
        if transport is not None and transport.handler is not None:
            transport.handler.cancel("connection given up")
            if transport.writer is not None:  # a task that is canceled before it starts does not close it
                transport.writer.close()


Work = Callable[Concatenate[Any, P], Coroutine[Any, Any, None]]


def bugs_reported(work: Work[P]) -> Work[P]:
    """For a method of a `BugReportingHandler` that runs as a task: report its exceptions, as nobody awaits it."""

    async def reported(self: Any, /, *arguments: P.args, **options: P.kwargs) -> None:
        try:
            await work(self, *arguments, **options)
        except Exception as bug:
            self._core.report_bug(bug)
            self.give_up()

    return reported

"""Listens, logs and stops: the app inside uvicorn.

A stop closes every WebSocket with 1012 (service restart) and ends within a second; signals that come while
uvicorn runs are caught by uvicorn, which raises them again when it is done, for `__main__.leave` to end with.
"""

from __future__ import annotations

import logging
import socket
import sys
from dataclasses import replace

import uvicorn

from sample_app.settings import Settings, WrongSetting
from sample_app.site import build_site

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Raises WrongSetting for an address that cannot be listened on."""
    log_to_stdout()
    listener = listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    log.info("Listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    config = uvicorn.Config(
        build_site(replace(settings, port=port)),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_max_size=64 * 1024,
        ws_per_message_deflate=False,  # most of what is sent are pictures, ten a second
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str | None, port: int) -> socket.socket:
    """On every address unless one is given: the proxy comes by IPv4, other machines by IPv6 (F-8.17)."""
    try:
        if host in (None, "::", "0.0.0.0") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        address = host or "0.0.0.0"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as error:
        raise WrongSetting(f"cannot listen on HOST {host or 'any'}, PORT {port}: {error}") from error


def log_to_stdout() -> None:
    """`[info] text`, each line flushed as it is written. Libraries are heard from `warning` upwards only."""
    logging.addLevelName(logging.DEBUG, "debug")
    logging.addLevelName(logging.INFO, "info")
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s] %(message)s", level=logging.WARNING)
    logging.getLogger("sample_app").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(is_no_false_alarm)


def is_no_false_alarm(record: logging.LogRecord) -> bool:
    """uvicorn takes every upgrade that is answered with a response for one that was not answered."""
    return record.msg != "ASGI callable returned without completing handshake."

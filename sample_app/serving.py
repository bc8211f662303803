"""Server setup: listening socket, logging, and the uvicorn server.

On a stop, every WebSocket is closed with 1012 (service restart), within a second. uvicorn catches signals while it
runs and raises them again when it is done, which ends the process in `__main__.exit_cleanly`.
"""

from __future__ import annotations

import logging
import socket
import sys
from dataclasses import replace

import uvicorn

from sample_app.settings import SettingError, Settings
from sample_app.site import build_site

log = logging.getLogger(__name__)


def serve(settings: Settings) -> None:
    """Runs the app until it is stopped. Raises SettingError if it cannot listen on the address."""
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
        ws_per_message_deflate=False,  # Most messages are frames, ten per second.
        timeout_graceful_shutdown=1,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(host: str | None, port: int) -> socket.socket:
    """Listens on all addresses by default: the proxy connects over IPv4, other machines over IPv6 (F-8.17)."""
    try:
        if host in (None, "::", "0.0.0.0") and socket.has_dualstack_ipv6():
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        address = host or "0.0.0.0"
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return socket.create_server((address, port), family=family)
    except (OSError, OverflowError) as error:
        raise SettingError(f"cannot listen on HOST {host or 'any'}, PORT {port}: {error}") from error


def log_to_stdout() -> None:
    """Logs lines such as `[info] text`, each flushed at once. Libraries log warnings and errors only."""
    logging.addLevelName(logging.DEBUG, "debug")
    logging.addLevelName(logging.INFO, "info")
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.ERROR, "error")
    logging.basicConfig(stream=sys.stdout, format="[%(levelname)s] %(message)s", level=logging.WARNING)
    logging.getLogger("sample_app").setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").addFilter(is_relevant)


def is_relevant(record: logging.LogRecord) -> bool:
    """Drops uvicorn's error for an upgrade that gets an ordinary response, which it considers unanswered."""
    return record.msg != "ASGI callable returned without completing handshake."

"""TLS certificate authority of the edges, created when the first TLS client connects.

Creation takes 0.1 s or more, and most runs never need it. The authority is kept for later runs, so that users have to
trust it only once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mitmproxy import tls
from mitmproxy.addons.tlsconfig import TlsConfig


def authority_folder() -> Path:
    """The folder of the certificate authority: in the user's data folder, else a temporary one."""
    folder = (
        Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "flysim" / "authority"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="flysim-authority-"))
    return folder


class LazyTls(TlsConfig):
    """mitmproxy's TLS addon, configured when the first TLS client connects; it prefers HTTP/2."""

    _postponed: set[str] | None = None

    def configure(self, updated: set[str]) -> None:
        self._postponed = (self._postponed or set()) | set(updated)

    def tls_clienthello(self, tls_clienthello: tls.ClientHelloData) -> None:
        if self._postponed:
            super().configure(self._postponed)
            self._postponed = None
        super().tls_clienthello(tls_clienthello)

    def tls_start_client(self, tls_start: tls.TlsData) -> None:
        super().tls_start_client(tls_start)
        if tls_start.ssl_conn is not None:
            # Prefer HTTP/2 whenever the client offers it, as web servers do; mitmproxy follows the client's order.
            tls_start.ssl_conn.get_app_data()["server_alpn"] = b"h2"

"""TLS for the edges, with a certificate authority that is made when the first TLS client comes.

Making one costs a tenth of a second or more, and most runs never need it. It is kept for later runs, so that a
person can trust it once.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mitmproxy import tls
from mitmproxy.addons.tlsconfig import TlsConfig


def authority_folder() -> Path:
    """Where the certificate authority is kept: the user's data folder, else a temporary one."""
    folder = (
        Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "flysim" / "authority"
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="flysim-authority-"))
    return folder


class LazyTls(TlsConfig):
    """mitmproxy's TLS addon, told its options only when they are needed, with a mind of its own about HTTP/2."""

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
            # As web servers do: HTTP/2 for everybody who speaks it. mitmproxy leaves the choice to the client's order.
            tls_start.ssl_conn.get_app_data()["server_alpn"] = b"h2"

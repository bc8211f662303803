"""What mitmproxy does for every message that the proxy's own master can do without: a third of a request's time.

Inside stock mitmproxy none of this applies: there other addons look on.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import http

from simulator.routing import Fields


class IndexedHeaders(http.Headers):
    """Header fields that nobody changes, so that a name is looked up in an index which is made once.

    mitmproxy asks a message about twenty times for the same few headers, each time by going through all of them.
    """

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._index: dict[str, str] | None = None

    def _indexed(self) -> dict[str, str]:
        if self._index is None:
            index: dict[str, str] = {}
            self._index = index
            for key, value in self.fields:
                name, text = (
                    key.decode("utf-8", "surrogateescape").lower(),
                    value.decode("utf-8", "surrogateescape"),
                )
                index[name] = f"{index[name]}, {text}" if name in index else text  # folded, as mitmproxy does
        return self._index

    def get(self, key: Any, default: Any = None) -> Any:
        return self._indexed().get(_name(key), default)

    def __getitem__(self, key: Any) -> str:
        return self._indexed()[_name(key)]

    def __contains__(self, key: object) -> bool:
        return _name(key) in self._indexed()


def _name(key: Any) -> str:
    return (key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key).lower()


def index_headers(message: http.Message) -> None:
    """From now on nobody changes this message's header fields."""
    message.data.headers = IndexedHeaders(message.data.headers.fields)


def drop_debug_checks() -> None:
    """mitmproxy checks the type of every field of every message as long as Python runs without -O. Ours are typed."""
    http.MessageData.__post_init__ = lambda self: None  # type: ignore[attr-defined, method-assign]

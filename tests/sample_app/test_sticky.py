"""Sticky routing middleware: its decision table, for plain requests and for upgrades."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from sample_app.sticky import StickyRouting

OWN = "d8dd626f379508"
OTHER = "286533db064e58"
COOKIE = f"fly-machine-id={OWN}; Max-Age=518400; Path=/; HttpOnly; SameSite=Lax"

both_kinds = pytest.mark.parametrize("kind", ["http", "websocket"])


@dataclass
class Answered:
    sent: list[Message] = field(default_factory=list)
    reached_app: bool = False

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0].get("headers", ())}

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]


async def ask(
    kind: str,
    query: str = "",
    cookie: str | None = None,
    *,
    own: str = OWN,
    is_guarded: bool = False,
    headers: dict[str, str] | None = None,
) -> Answered:
    answered = Answered()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answered.reached_app = True
        is_http = scope["type"] == "http"
        await send(
            {"type": "http.response.start", "status": 200} if is_http else {"type": "websocket.accept"}
        )

    async def receive() -> Message:
        return {"type": "http.request" if kind == "http" else "websocket.connect"}

    async def send(message: Message) -> None:
        answered.sent.append(message)

    all_headers = {
        **(headers or {}),
        **({"cookie": f"a=b; fly-machine-id={cookie}"} if cookie is not None else {}),
    }
    scope = {
        "type": kind,
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
        "extensions": {"websocket.http.response": {}},
    }
    middleware = StickyRouting(app, own_id=own, cookie_max_age_seconds=518400, is_guarded=is_guarded)
    await middleware(scope, receive, send)
    return answered


@both_kinds
@pytest.mark.parametrize(
    ("query", "cookie", "sets_cookie", "line"),
    [
        (
            f"instance={OWN}",
            None,
            True,
            f"Correct machine based on parameter {OWN}. Set cookie and let pass.",
        ),
        (
            f"instance={OWN}",
            OTHER,
            True,
            f"Correct machine based on parameter {OWN}. Set cookie and let pass.",
        ),
        ("", OWN, False, f"Correct machine based on cookie {OWN}. Let pass."),
        ("a=b", OWN, False, f"Correct machine based on cookie {OWN}. Let pass."),
        ("", None, False, "No parameter or cookie. Let pass."),
        ("instance=", "", False, "No parameter or cookie. Let pass."),
    ],
)
async def test_a_request_for_this_machine_passes(
    kind: str, query: str, cookie: str | None, sets_cookie: bool, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sample_app")
    answered = await ask(kind, query, cookie)
    assert answered.reached_app
    assert answered.headers == ({"set-cookie": COOKIE} if sets_cookie else {})
    assert caplog.messages == [line]


@both_kinds
@pytest.mark.parametrize(
    ("query", "cookie", "line"),
    [
        (f"instance={OTHER}", None, f"Incorrect machine {OWN} based on parameter {OTHER}. Redirect."),
        (f"instance={OTHER}", OWN, f"Incorrect machine {OWN} based on parameter {OTHER}. Redirect."),
        ("", OTHER, f"Incorrect machine {OWN} based on cookie {OTHER}. Redirect."),
    ],
)
async def test_a_request_for_another_machine_is_replayed_and_does_not_reach_the_app(
    kind: str, query: str, cookie: str | None, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """F-1.3; an upgrade gets the response instead of an accepted handshake (F-1.86)."""
    caplog.set_level(logging.INFO, "sample_app")
    answered = await ask(kind, query, cookie)
    assert not answered.reached_app
    prefix = "" if kind == "http" else "websocket."
    assert answered.types == [f"{prefix}http.response.start", f"{prefix}http.response.body"]
    assert answered.sent[0]["status"] == 307
    assert answered.headers["fly-replay"] == f"instance={OTHER}"
    assert answered.sent[1]["body"] == b"redirecting..."
    assert caplog.messages == [line]


async def test_the_line_is_written_before_the_response_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sample_app")
    seen: list[int] = []

    async def send(message: Message) -> None:
        seen.append(len(caplog.messages))

    async def receive() -> Message:
        raise AssertionError("a request that is replayed must not be read")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("the app must not run")

    scope = {"type": "http", "path": "/", "query_string": f"instance={OTHER}".encode(), "headers": []}
    await StickyRouting(app, own_id=OWN, cookie_max_age_seconds=1)(scope, receive, send)
    assert seen == [1, 1]


@pytest.mark.parametrize("value", ["a%0d%0aset-cookie:%20x=y", "%00", "%C3%A9"])
async def test_a_value_that_could_end_a_header_is_ignored(value: str) -> None:
    assert (await ask("http", f"instance={value}")).reached_app


@pytest.mark.parametrize("value", ["abc;app=another", "nowhere", OTHER.upper()])
async def test_unguarded_routing_accepts_any_name_and_guarded_routing_only_ids(value: str) -> None:
    plain = await ask("http", f"instance={value}".replace(";", "%3B"))
    assert plain.headers["fly-replay"] == f"instance={value}"
    assert (await ask("http", f"instance={value}".replace(";", "%3B"), is_guarded=True)).reached_app


@both_kinds
async def test_guarded_a_request_prefers_the_machine_that_it_names(kind: str) -> None:
    """F-1.46: if it no longer exists, another machine gets the request."""
    answered = await ask(kind, "", OTHER, is_guarded=True)
    assert answered.headers["fly-replay"] == f"prefer_instance={OTHER}"


@both_kinds
@pytest.mark.parametrize(
    "header", ["fly-replay-src", "fly-replay-failed", "fly-preferred-instance-unavailable"]
)
@pytest.mark.parametrize(("query", "cookie"), [("", OTHER), (f"instance={OTHER}", None)])
async def test_guarded_no_request_is_replayed_twice_and_the_cookie_is_reset(
    kind: str, header: str, query: str, cookie: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """F-1.40, F-1.41, F-1.46, F-1.54."""
    caplog.set_level(logging.INFO, "sample_app")
    answered = await ask(kind, query, cookie, is_guarded=True, headers={header: "whatever"})
    assert answered.reached_app
    assert answered.headers == {"set-cookie": COOKIE}
    assert caplog.messages == [f"Cannot reach machine {OTHER}. Set cookie and let pass."]


async def test_guarded_the_named_machine_passes_a_replayed_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sample_app")
    answered = await ask(
        "websocket", "", OWN, is_guarded=True, headers={"fly-replay-src": f"instance={OTHER}"}
    )
    assert answered.headers == {}
    assert caplog.messages == [f"Correct machine based on cookie {OWN}. Let pass."]


async def test_unguarded_a_replayed_request_is_replayed_again() -> None:
    """Without the guard, two machines may replay a request to each other."""
    answered = await ask("http", "", OTHER, headers={"fly-replay-src": f"instance={OTHER}"})
    assert answered.headers["fly-replay"] == f"instance={OTHER}"

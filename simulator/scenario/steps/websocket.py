"""Step `websocket`: opens a WebSocket, sends messages, and checks what it receives.

With `as:` the connection stays open, and later steps `use:` it.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator
from websockets.exceptions import ConnectionClosed

from simulator.config.base_model import (
    TEXT_SCHEMA,
    Duration,
    OneOrMore,
    Port,
    ShortForm,
    StrictModel,
    Text,
    Texts,
    as_list,
    as_string,
    check_mutually_exclusive,
    invalid,
)
from simulator.errors import InputError
from simulator.results import ClientResponse, Mismatch
from simulator.scenario.client.websocket import WebSocketConnection, WebSocketRequest, open_websocket
from simulator.scenario.context import ScenarioContext, StepFailed
from simulator.scenario.expectations.capture import Captures, capture
from simulator.scenario.expectations.match import (
    describe_match,
    format_message,
    message_mismatches,
    text_mismatches,
)
from simulator.scenario.expectations.schema import MessageMatch, WebSocketExpectation
from simulator.scenario.steps.base import Step
from simulator.scenario.steps.request import DEFAULT_TIMEOUT_SECONDS

DEFAULT_MESSAGE_TIMEOUT_SECONDS = 5.0
"""How long a step waits for messages without `timeout:`, on the real clock."""


class Message(StrictModel):
    """A message to send: text, JSON, a binary message of a given size, or one in hex."""

    text: Text | None = None
    json_: Any = Field(default=None, alias="json")
    bytes_: int | None = Field(default=None, alias="bytes", ge=0)
    hex_: Text | None = Field(default=None, alias="hex", pattern=r"^([0-9a-fA-F]{2})*$")

    @model_validator(mode="after")
    def _check_exactly_one(self) -> Message:
        if len(self.model_fields_set) != 1:
            raise invalid(
                f"{len(self.model_fields_set)} kinds of content in one message",
                expected="exactly one of text:, json:, bytes: and hex:",
            )
        return self

    def encode(self) -> str | bytes:
        if self.bytes_ is not None:
            return b"x" * self.bytes_
        if self.hex_ is not None:
            return bytes.fromhex(self.hex_)
        return self.text if self.text is not None else json.dumps(self.json_)


def _parse_message(value: Any) -> Any:
    return value if isinstance(value, dict) else {"text": as_string(value)}


SentMessage = Annotated[Message, BeforeValidator(_parse_message), ShortForm(TEXT_SCHEMA)]


class CloseFrame(StrictModel):
    code: int = Field(default=1000, ge=1000, le=4999)
    reason: Text = ""


def _parse_close(value: Any) -> Any:
    if value is True:
        return {}
    return {"code": value} if isinstance(value, int) and not isinstance(value, bool) else value


class WebSocketStep(Step):
    key: ClassVar[str] = "websocket"
    inner_keys: ClassVar[tuple[str, ...]] = ("path", "url")

    websocket: Text | None = None
    """A path or a URL."""
    use: Text | None = None
    """Name of a WebSocket that an earlier step opened with `as:`."""
    as_: Text | None = Field(default=None, alias="as")
    """Keep the WebSocket open under this name."""
    edge: Text | None = None
    port: Port | None = None
    """A public port of the edge other than 80 and 443."""
    direct: Text | None = None
    client: Text | None = None
    headers: dict[str, Texts] | None = None
    subprotocols: Texts | None = None
    send: Annotated[list[SentMessage], BeforeValidator(as_list), OneOrMore()] | None = None
    close: (
        Annotated[CloseFrame, BeforeValidator(_parse_close), ShortForm({"type": ["integer", "boolean"]})]
        | None
    ) = None
    timeout: Duration | None = None
    capture: Captures | None = None
    expect: WebSocketExpectation | None = None

    @model_validator(mode="after")
    def _check_key_combination(self) -> WebSocketStep:
        if (self.websocket is None) == (self.use is None):
            raise invalid(
                "neither a path nor use:" if self.use is None else "both a path and use:",
                expected="one of the two",
            )
        check_mutually_exclusive(self, "edge", "direct")
        check_mutually_exclusive(self, "port", "direct")
        if self.use is not None:
            for name in ("as_", "edge", "port", "direct", "client", "headers", "subprotocols"):
                if name in self.model_fields_set:
                    raise invalid(
                        f'"{name.rstrip("_")}:" together with use:',
                        expected="this key in the step that opens the WebSocket",
                    )
        return self

    @property
    def title(self) -> str:
        return f"WebSocket {self.websocket}" if self.use is None else f"WebSocket {self.use}"

    async def run(self, context: ScenarioContext) -> None:
        socket = await (self._open(context) if self.use is None else self._reuse(context, self.use))
        if socket is None:  # The handshake was rejected, as expected.
            self._fail_if_socket_is_needed(context)
            return
        try:
            await self._exchange_messages(socket, context)
        finally:
            if self.use is None and self.as_ is None:
                await socket.close(1000, "")

    async def _open(self, context: ScenarioContext) -> WebSocketConnection | None:
        client = context.get_client(self.client)
        headers = [(name, value) for name, values in (self.headers or {}).items() for value in values]
        request = WebSocketRequest(
            self.websocket or "", headers, self.subprotocols or (), self.timeout or DEFAULT_TIMEOUT_SECONDS
        )
        response, socket = await open_websocket(
            client, request, context.base_url(client, edge=self.edge, direct=self.direct, port=self.port)
        )
        try:
            await self._check_handshake(response, socket, context)
        except BaseException:
            if socket is not None:
                await socket.close(1000, "")
            raise
        if socket is not None and self.as_ is not None:
            await self._store(socket, self.as_, context)
        return socket

    async def _check_handshake(
        self, response: ClientResponse, socket: WebSocketConnection | None, context: ScenarioContext
    ) -> None:
        """Raises StepFailed with the mismatches of the handshake and of the messages."""
        try:
            await context.check_response(response, self._handshake_expectation())
        except StepFailed as failed:
            if socket is not None:
                try:
                    await self._exchange_messages(socket, context)
                except StepFailed as more:
                    failed.mismatches += more.mismatches
            raise

    def _handshake_expectation(self) -> WebSocketExpectation:
        """Return the expectations on the handshake: it must succeed, unless a status or an error is expected."""
        expect = self.expect or WebSocketExpectation.model_construct()
        changes: dict[str, Any] = {"logs": None}
        if expect.status is None and expect.error in (None, "none"):
            changes["status"] = [101]
        return expect.model_copy(update=changes)

    def _fail_if_socket_is_needed(self, context: ScenarioContext) -> None:
        expect = self.expect
        if self.send or self.close or (expect and (expect.messages or expect.close_code)):
            rejected = Mismatch(
                "handshake",
                "an open WebSocket",
                f"rejected with status {context.response.status if context.response else None}",
            )
            raise StepFailed(mismatches=(rejected,), response=context.response)

    async def _store(self, socket: WebSocketConnection, name: str, context: ScenarioContext) -> None:
        before = context.shared.sockets.get(name)
        if before is not None:
            await before.close(1000, "")
        context.shared.sockets[name] = socket

    async def _reuse(self, context: ScenarioContext, name: str) -> WebSocketConnection:
        sockets = context.shared.sockets
        if name not in sockets:
            raise InputError(
                f'no WebSocket "{name}" is open',
                expected=f"one of {', '.join(sockets)}"
                if sockets
                else "a name that an earlier step gave with as:",
            )
        await self._check_handshake(sockets[name].response, sockets[name], context)
        return sockets[name]

    async def _exchange_messages(self, socket: WebSocketConnection, context: ScenarioContext) -> None:
        try:
            for message in self.send or ():
                await socket.send(message.encode())
        except ConnectionClosed as error:
            raise StepFailed(f"cannot send a message: {error}", response=socket.response) from None
        expect, deadline = self.expect, time.monotonic() + (self.timeout or DEFAULT_MESSAGE_TIMEOUT_SECONDS)
        found: list[Mismatch] = []
        if expect is not None and expect.messages is not None:
            found += await _expect_messages(socket, expect, deadline)
        if self.close is not None:
            await socket.close(self.close.code, self.close.reason)
        if expect is not None:
            found += await _expect_close(socket, expect, deadline)
            found += await context.log_mismatches(expect.logs or ())
        if found:
            raise StepFailed(mismatches=tuple(found), response=socket.response)
        socket.response.messages = list(socket.messages)
        capture(self.capture, socket.response, context)


async def _expect_messages(
    socket: WebSocketConnection, expect: WebSocketExpectation, deadline: float
) -> list[Mismatch]:
    """Wait for the expected messages, in order. Other messages in between are skipped, unless `exact`."""
    first = socket.cursor
    for match in expect.messages or ():

        def has_match(match: MessageMatch = match) -> bool:
            return _advance(socket, match)

        def has_message() -> bool:
            return len(socket.messages) > socket.cursor

        enough = await socket.wait(has_message if expect.exact else has_match, deadline)
        if not enough or (
            expect.exact and list(message_mismatches("", match, socket.messages[socket.cursor]))
        ):
            return [_message_mismatch(socket, match, first, exact=expect.exact)]
        socket.cursor += 1 if expect.exact else 0
    return []


def _advance(socket: WebSocketConnection, match: MessageMatch) -> bool:
    """Move the cursor past the next matching message. Returns False if there is none yet."""
    for index in range(socket.cursor, len(socket.messages)):
        if not list(message_mismatches("", match, socket.messages[index])):
            socket.cursor = index + 1
            return True
    return False


def _message_mismatch(
    socket: WebSocketConnection, match: MessageMatch, first: int, *, exact: bool
) -> Mismatch:
    received = socket.messages[first:]
    actual = "".join(f"\n{format_message(message)}" for message in received[:12])
    actual += f"\n… and {len(received) - 12} more" if len(received) > 12 else ""
    actual = actual or "no message"
    if socket.is_closed:
        actual += f"\nthen closed with code {socket.close_code}"
    return Mismatch(
        "messages",
        f"{'the next message' if exact else 'a message that'} {describe_match(match, 'is ')}",
        actual,
    )


async def _expect_close(
    socket: WebSocketConnection, expect: WebSocketExpectation, deadline: float
) -> list[Mismatch]:
    if expect.close_code is None and expect.close_reason is None:
        return []
    if not await socket.wait(lambda: socket.is_closed, deadline) and not socket.is_closed:
        return [Mismatch("close_code", str(expect.close_code or "any"), "still open")]
    await asyncio.sleep(0)
    found = []
    if expect.close_code is not None and socket.close_code != expect.close_code:
        found.append(Mismatch("close_code", str(expect.close_code), str(socket.close_code)))
    if expect.close_reason is not None:
        found += text_mismatches("close_reason", expect.close_reason, socket.close_reason)
    return found

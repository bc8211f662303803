"""Listening sockets: file descriptors that run out, and connections accepted in bounded numbers."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from simulator.proxy.transport import listener as module
from simulator.proxy.transport.listener import Listener
from tests.proxy.harness import until


@contextmanager
def free_files(count: int) -> Iterator[None]:
    """Allow this process to open only `count` files more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = os.open(os.devnull, os.O_RDONLY)  # the lowest free number
    os.close(reserved)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reserved + count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Server:
    """A listener, and what it has reported."""

    def __init__(self) -> None:
        self.streams: list[asyncio.StreamWriter] = []
        self.pauses: list[OSError] = []
        self.errors: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.errors.append(context))
        self.listener = Listener(
            "127.0.0.1", 0, lambda _, writer: self.streams.append(writer), self.pauses.append
        )

    def close(self) -> None:
        self.listener.close()
        for writer in self.streams:
            writer.close()


async def test_accepting_pauses_without_file_descriptors_and_is_reported_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    server = Server()
    clients = [socket.socket() for _ in range(10)]
    with free_files(3):
        for client in clients:
            client.connect(server.listener.address)
        await until(lambda: len(server.streams) == 3 and bool(server.pauses))
        attempts = server.listener._pause
        await until(lambda: server.listener._pause is not attempts)  # another attempt, which is not reported
        assert len(server.streams) == 3
        server.streams[0].close()
        await until(lambda: len(server.streams) == 4)  # one more, and the shortage continues
        attempts = server.listener._pause
        await until(lambda: server.listener._pause is not attempts)
        assert len(server.pauses) == 1
    await until(lambda: len(server.streams) == 10)
    assert server.errors == []
    for client in clients:
        client.close()
    server.close()


async def test_connections_are_accepted_in_bounded_numbers_per_turn() -> None:
    server = Server()
    clients = [
        socket.create_connection(server.listener.address) for _ in range(module.MAX_ACCEPTS_PER_TURN + 5)
    ]
    seen: list[int] = []

    def look() -> None:
        seen.append(len(server.listener._connecting) + len(server.streams))
        if seen[-1] < len(clients):
            asyncio.get_running_loop().call_soon(look)

    asyncio.get_running_loop().call_soon(look)
    await until(lambda: len(server.streams) == len(clients))
    assert module.MAX_ACCEPTS_PER_TURN in seen
    for client in clients:
        client.close()
    server.close()


async def test_an_address_in_use_is_an_error() -> None:
    server = Server()
    with pytest.raises(OSError, match="in use"):
        Listener(*server.listener.address, lambda *_: None, lambda _: None)
    server.close()

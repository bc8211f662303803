"""gRPC server for tests: all four kinds of call, with trailing metadata, errors, and a call that asks for a replay.

Messages are plain bytes, so there is no generated code. Runs as a script, so it imports nothing from flysim.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

ID = os.environ["FLY_MACHINE_ID"]
HOST, PORT = os.environ.get("HOST", "0.0.0.0"), os.environ.get("PORT", "8080")


def unary(request: bytes, context: Any) -> bytes:
    """The machine's id and the message. Metadata `to`: another machine must answer."""
    metadata = dict(context.invocation_metadata())
    if metadata.get("to", ID) != ID:
        context.send_initial_metadata([("fly-replay", f"instance={metadata['to']};state=asked")])
        return b""
    context.set_trailing_metadata(
        [("x-source", metadata.get("fly-replay-src", "")), ("x-sum-bin", b"\0\xff")]
    )
    return ID.encode() + b" " + request


def fail(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such room: Gänge")
    return b""


def stream_out(request: bytes, context: Any) -> Iterator[bytes]:
    for number in range(int(request)):
        yield b"%d" % number


def stream_in(requests: Iterator[bytes], context: Any) -> bytes:
    return b"+".join(requests)


def stream_both(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    for request in requests:
        yield request.upper()


HANDLERS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Out": grpc.unary_stream_rpc_method_handler(stream_out),
    "In": grpc.stream_unary_rpc_method_handler(stream_in),
    "Both": grpc.stream_stream_rpc_method_handler(stream_both),
}


def main() -> None:
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Rooms", HANDLERS),))
    server.add_insecure_port(f"{HOST}:{PORT}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()

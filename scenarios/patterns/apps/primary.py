"""Writes in the primary region, reads anywhere: fly-ruby's routing for a database with one writer (P-5, P-6, P-33).

It replays to the primary region with a `state` that has the reason:

    the method of the request writes            -> state=http_method
    a statement fails because this is a replica -> state=captured_write
    the client wrote within the last seconds    -> state=threshold, so that clients read their own writes

The database is a list without replication. Source: superfly/fly-ruby lib/fly-ruby/regional_database.rb.
"""

from __future__ import annotations

import os
import time

from web import REGION, Request, Response, json_response, replay, serve

PRIMARY = os.environ["PRIMARY_REGION"]
THRESHOLD_SECONDS = 5
rows: list[str] = []


class ReadOnlyTransactionError(Exception):
    """The equivalent of PG::ReadOnlySqlTransaction."""


def insert(row: str) -> None:
    if REGION != PRIMARY:
        raise ReadOnlyTransactionError
    rows.append(row)


def to_primary(reason: str) -> Response:
    return replay(f"region={PRIMARY};state={reason}", 409)


async def app(request: Request) -> Response:
    is_write = request.method not in ("GET", "HEAD", "OPTIONS", "TRACE")
    if REGION != PRIMARY:
        if is_write:
            return to_primary("http_method")
        if float(request.cookies.get("fly-replay-threshold", 0)) > time.time():
            return to_primary("threshold")
    try:
        if is_write or request.path == "/visit":  # A GET that writes.
            insert(request.target)
    except ReadOnlyTransactionError:
        return to_primary("captured_write")
    state = request.field("fly-replay-src", "state")
    response = json_response({"region": REGION, "rows": len(rows), "state": state})
    if state in ("http_method", "captured_write"):  # A threshold replay does not extend it.
        response.headers["Set-Cookie"] = f"fly-replay-threshold={time.time() + THRESHOLD_SECONDS}; Path=/"
    return response


serve(app)

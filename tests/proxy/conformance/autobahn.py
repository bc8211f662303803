"""Run of Autobahn's cases against a server: python -m tests.proxy.conformance.autobahn PORT [CASE …]

Prints a JSON object: by case, the verdicts on messages and on the closing handshake. It is a process of its own,
because kosoku puts modules with the names of others on the import path.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from kosoku import FailureError, run_fuzzingclient

CASES = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*", "12.1.1", "12.2.1", "13.1.1"]
"""Left out are group 9 and most of groups 12 and 13: messages of megabytes, and thousands of compressed messages. They
test speed and take minutes."""


async def verdicts(port: int, cases: list[str]) -> dict[str, tuple[str, str]]:
    try:
        results = await run_fuzzingclient(f"ws://127.0.0.1:{port}/", cases=cases or CASES, concurrency=16)
    except FailureError as failure:
        results = failure.results
    return {each.case_id: (each.behavior.value, each.behavior_close.value) for each in results}


if __name__ == "__main__":
    json.dump(asyncio.run(verdicts(int(sys.argv[1]), sys.argv[2:])), sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # kosoku's Rust threads abort some of the processes that finalize Python 3.13

"""`make bench`: all measurements, with minimum, median and maximum. `ONLY=rates`, `start` or `routing`: some of them.

BENCH_ROUNDS (3), BENCH_SECONDS (2) per measurement of a rate. `--markdown` prints the table of docs/performance.md.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from tests.bench import rates, resources, routing_decision
from tests.bench.row import Row, as_markdown, as_text

SECTIONS = ("rates", "start", "routing")


def main() -> None:
    only = os.environ.get("ONLY") or "all"
    if only not in ("all", *SECTIONS):
        sys.exit(f"ONLY={only} is unknown\n  expected: {', '.join(SECTIONS)}")
    wanted = SECTIONS if only == "all" else (only,)
    missing = [tool for tool in ("nginx", "wrk") if shutil.which(tool, path=rates.path()) is None]
    if "rates" in wanted and missing:
        sys.exit(
            f"make bench needs {' and '.join(missing)}; on Debian: apt-get install nginx-light wrk\n"
            "  nginx is the upstream server and one of the proxies, wrk generates the load"
        )
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="flysim-bench-") as name:
        folder = Path(name)
        if "rates" in wanted:
            with ExitStack() as stack:
                rows += rates.Bench(stack, folder).measure()
        if "start" in wanted:
            rows += resources.measure(folder)
    if "routing" in wanted:
        rows += routing_decision.measure()
    print(f"Python {platform.python_version()}, mitmproxy {version('mitmproxy')}, {len(rates.CORES)} cores\n")
    print(as_markdown(rows) if "--markdown" in sys.argv else as_text(rows))


if __name__ == "__main__":
    main()

"""Check of a stored history: `python -m tests.soak.check HISTORY`. Exit status 1 if it violates a rule."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.soak.history import History, read_events
from tests.soak.report import describe, summarize
from tests.soak.rules import check


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.soak.check HISTORY\n  expected: the history.jsonl of a soak run")
    sys.exit(1 if report(Path(sys.argv[1])) else 0)


def report(path: Path) -> bool:
    """Print the summary and the violations. Returns whether there are any."""
    history = History(read_events(path))
    print(*summarize(history), sep="\n")
    violations = check(history)
    print(*describe(violations), sep="\n")
    return bool(violations)


if __name__ == "__main__":
    main()

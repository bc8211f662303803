"""Command line of the soak test: `make soak [SECONDS=600] [SEED=…] [MACHINES=4] [RATE=100]`."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from pathlib import Path

from tests.soak.check import report
from tests.soak.driver import Run
from tests.soak.plan import Plan

LOG_LINES = 20


def main() -> None:
    options = _parse_options()
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    folder = Path(tempfile.mkdtemp(prefix="flysim-soak-"))
    print(
        f"soak: seed {seed}, {options.seconds:g} s, {options.machines} machines, folder {folder}", flush=True
    )

    plan = Plan(seed, options.machines)
    asyncio.run(Run(plan, options.seconds, options.rate, folder).execute())

    if report(folder / "history.jsonl"):
        print(f"the last lines of {folder / 'flysim.log'}:")
        lines = (folder / "flysim.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
        print(*(f"  {line}" for line in lines), sep="\n")
        command = f"make soak SEED={seed} SECONDS={options.seconds:g} MACHINES={options.machines} RATE={options.rate:g}"
        print(
            f"to repeat: {command}\nto check again: {sys.executable} -m tests.soak.check {folder / 'history.jsonl'}"
        )
        sys.exit(1)
    print(f"all rules hold; history: {folder / 'history.jsonl'}")


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="duration of the load")
    parser.add_argument("--seed", type=int, default=None, help="repeat the plan of this seed")
    parser.add_argument(
        "--machines", type=int, default=4, help="machines of the app `web`; five other apps have one each"
    )
    parser.add_argument("--rate", type=float, default=100.0, help="requests and messages per second")
    options = parser.parse_args()
    for name, least in (("seconds", 5), ("machines", 1), ("rate", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} is {getattr(options, name):g}; expected {least} or more")
    return options


if __name__ == "__main__":
    main()

"""Command line of the fuzzer: `make fuzz [SECONDS=60] [SEED=…] [KIND=http1]`."""

from __future__ import annotations

import argparse
import secrets
import sys
from contextlib import ExitStack

from tests.fuzz.campaign import open_checks, run_campaign
from tests.fuzz.targets import CORPUS, TARGETS, corpus


def main() -> None:
    options = _parse_options()
    seed = options.seed if options.seed is not None else secrets.randbelow(2**32)
    kinds = options.kind or list(TARGETS)
    print(f"fuzz: seed {seed}, {options.seconds:g} s, {', '.join(kinds)}", flush=True)
    with ExitStack() as stack:
        inputs = {kind: [path.read_bytes() for path in corpus(kind)] for kind in kinds}
        failures, numbers = run_campaign(open_checks(kinds, stack), inputs, seed, options.seconds)
    print("inputs: " + ", ".join(f"{kind} {number}" for kind, number in numbers.items()))
    for kind, failure in failures.items():
        path = failure.store()
        print(f"\nfailed: {kind}: {failure.data[:300]!r}\n{failure.describe()}")
        print(f"to keep the input: cp {path} {CORPUS / kind}/NAME")
    if failures:
        print(f"to repeat: make fuzz SEED={seed} SECONDS={options.seconds:g} KIND={next(iter(failures))}")
        sys.exit(1)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="repeat the inputs of this seed")
    parser.add_argument("--kind", action="append", choices=list(TARGETS), help="only this kind; repeatable")
    return parser.parse_args()


if __name__ == "__main__":
    main()

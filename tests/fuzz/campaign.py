"""Fuzzing campaign: mutates the corpus of one kind after the other until the time is up or an input fails."""

from __future__ import annotations

import hashlib
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.mutation import mutated
from tests.fuzz.targets import Check

BATCH = 100


@dataclass(frozen=True)
class Failure:
    """An input that fails, shrunk by hypothesis, and the error."""

    kind: str
    data: bytes
    error: BaseException

    def store(self, folder: Path | None = None) -> Path:
        folder = folder or Path(tempfile.mkdtemp(prefix="flysim-fuzz-"))
        path = folder / f"{self.kind}-{hashlib.sha256(self.data).hexdigest()[:8]}"
        path.write_bytes(self.data)
        return path

    def describe(self) -> str:
        """The error and where it was raised, in one or two lines."""
        frame = traceback.extract_tb(self.error.__traceback__)[-1]
        return f"{frame.filename}:{frame.lineno}: {type(self.error).__name__}: {self.error}"


def run_campaign(
    checks: Mapping[str, Check], inputs: Mapping[str, Sequence[bytes]], campaign_seed: int, seconds: float
) -> tuple[dict[str, Failure], Counter[str]]:
    """The first failure of each kind, which is not mutated further, and the number of inputs of each kind."""
    end = time.monotonic() + seconds
    failures: dict[str, Failure] = {}
    numbers: Counter[str] = Counter()
    for batch in count():
        for kind, check in checks.items():
            if time.monotonic() >= end or len(failures) == len(checks):
                return failures, numbers
            if kind not in failures:
                failure = _run_batch(kind, check, inputs[kind], f"{campaign_seed} {kind} {batch}", numbers)
                failures |= {kind: failure} if failure else {}
    raise AssertionError  # not reached: count() is endless


def _run_batch(
    kind: str, check: Check, inputs: Sequence[bytes], batch_seed: str, numbers: Counter[str]
) -> Failure | None:
    failing = b""

    @seed(batch_seed)
    @settings(
        database=None,
        deadline=None,
        max_examples=BATCH,
        phases=[
            Phase.generate,
            Phase.shrink,
        ],  # Not `explain`, after which the last input is not the smallest.
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(data=mutated(inputs))
    def run(data: bytes) -> None:
        nonlocal failing
        numbers[kind] += 1
        try:
            check(data)
        except BaseException:
            failing = data  # The last one is the smallest: hypothesis repeats it at the end.
            raise

    try:
        run()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # Whatever the code under test raises.
        return Failure(kind, failing, error)
    return None


def open_checks(kinds: Sequence[str], stack: ExitStack) -> dict[str, Check]:
    from tests.fuzz.targets import TARGETS

    return {kind: stack.enter_context(TARGETS[kind]()) for kind in kinds}

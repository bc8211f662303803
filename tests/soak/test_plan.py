"""The plan of a soak run depends on its seed only."""

from __future__ import annotations

from itertools import islice

from tests.soak.plan import LANES, Plan


def first_steps(seed: int) -> list[object]:
    plan = Plan(seed, 4)
    sessions = [session for lane in range(len(LANES)) for session in islice(plan.sessions(lane), 20)]
    return [plan.machines, sessions, list(islice(plan.faults(), 50))]


def test_a_seed_repeats_its_plan() -> None:
    assert first_steps(1) == first_steps(1)


def test_other_seeds_have_other_plans() -> None:
    assert first_steps(1) != first_steps(2)


def test_a_plan_has_every_kind_of_request_and_fault() -> None:
    plan = Plan(1, 4)
    kinds = {
        request.kind
        for lane in range(len(LANES))
        for session in islice(plan.sessions(lane), 300)
        for request in session.requests
    }
    assert len(kinds) == 18
    assert len({fault.kind for fault in islice(plan.faults(), 500)}) == 11

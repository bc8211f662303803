"""The page `docs/fidelity.md`, from the table of facts and the verdicts on them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from tests.fidelity.citation import Citation, collect
from tests.fidelity.fact import ROOT, Fact, read_facts
from tests.fidelity.verdict import Kind, Verdict, judge

PAGE = ROOT / "docs" / "fidelity.md"
LEAST_SHARE = 0.85
_NAMED_TESTS = 3

_HEAD = """\
# Fidelity

What is known of Fly's proxy, and what flysim makes of each point. Made from the tests by `make fidelity`: do not
edit. The table of facts is [facts.tsv](facts.tsv).

- **held**: the tests named hold it; a test names the points it holds in its docstring, its comments or its cases.
  The tests that are most about the point stand first.
- **choice**: Fly is silent, or contradicts itself. The key stands under `[proxy]` in `flysim.toml`, here with its
  default.
- **not emulated**, with the reason.

{counts}

Of {rules} points that Fly documents about the proxy (marked D, sections 1 to 6 and 8 to 10) tests hold **{held}**,
that is **{share:.1%}**.

Marks: **D** documented by Fly · **C** inferred from code, Fly's own or such as runs on Fly · **M** said by the
community, or measured · **S** the documents are silent on it, or on a part.

Sources: paths are those of superfly/docs unless another repository is named. DRR: networking/dynamic-request-routing ·
CFG: reference/configuration · ERR: monitoring/error-codes · ERR-draft: a draft of it in the repository's history ·
LB: reference/load-balancing · AUTO: reference/fly-proxy-autostop-autostart · SVC: networking/services ·
HDR: networking/request-headers · RTE: machines/runtime-environment · PN: networking/private-networking ·
MAPI: machines/api/machines-resource · C and a number: a thread of community.fly.io · SPIKE: measurements by
2witstudios/PageSpace, August 2026 · idx and a number: a public source file that is not named.
"""


def share_held(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> tuple[int, int]:
    """How many documented points are held, and how many there are."""
    rules = [fact for fact in facts.values() if fact.is_rule_to_hold]
    held = [fact for fact in rules if fact.id in verdicts and verdicts[fact.id].kind is Kind.HELD]
    return len(held), len(rules)


def make_page() -> str:
    """The page as it should be now."""
    facts = read_facts()
    verdicts = judge(facts, collect(facts))
    return write_page(facts, verdicts)


def write_page(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> str:
    held, rules = share_held(facts, verdicts)
    parts = [_HEAD.format(counts=_counts(facts, verdicts), held=held, rules=rules, share=held / rules)]
    for (section, title), group in groupby(facts.values(), key=lambda fact: (fact.section, fact.title)):
        rows = [_row(fact, verdicts.get(fact.id)) for fact in group]
        parts.append(
            "\n".join(
                [f"## {section} {title}\n", "| id | what | source | here |", "|---|---|---|---|", *rows, ""]
            )
        )
    return "\n".join(parts)


def _counts(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> str:
    number = Counter(verdict.kind for verdict in verdicts.values())
    heads = " | ".join(kind.value for kind in Kind)
    values = " | ".join(str(number[kind]) for kind in Kind)
    return f"| {heads} | all |\n|---|---|---|---|\n| {values} | {len(facts)} |"


def _row(fact: Fact, verdict: Verdict | None) -> str:
    marks = re.sub(r"[\[\] ]", "", fact.tags)
    source = f"{_plain(fact.source)} **{marks}**" if marks else _plain(fact.source)
    return f"| {fact.id} | {_plain(fact.text)} | {source} | {_here(verdict) if verdict else '**open**'} |"


def _here(verdict: Verdict) -> str:
    if verdict.kind is Kind.NOT_EMULATED:
        return f"not emulated: {_plain(verdict.reason)}"
    told = [f"`{verdict.key.name} = {verdict.key.default}`"] if verdict.key else []
    told += [_link(citation) for citation in verdict.citations[:_NAMED_TESTS]]
    if more := len(verdict.citations) - _NAMED_TESTS:
        told += [f"and {more} more"] if more > 0 else []
    return f"{verdict.kind.value}: {'<br>'.join(told)}"


def _link(citation: Citation) -> str:
    name = str(citation).removeprefix("tests/")
    return f"[{_plain(name)}](../{citation.path})"


def _plain(text: str) -> str:
    """As it stands, whatever Markdown would make of it."""
    return re.sub(r"([\\*_<>|])", r"\\\1", text)

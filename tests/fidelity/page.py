"""The page `docs/fidelity.md`, generated from the table of facts and their verdicts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from itertools import groupby

from tests.fidelity.citation import Citation, collect
from tests.fidelity.deviation import Deviation, read_deviations
from tests.fidelity.fact import ROOT, Fact, read_facts
from tests.fidelity.verdict import Kind, Verdict, judge

PAGE = ROOT / "docs" / "fidelity.md"
MIN_TESTED_SHARE = 0.85
_LISTED_TESTS = 3

_HEAD = """\
# Fidelity

The known facts about Fly's proxy, and whether flysim follows each of them. `make fidelity` generates this page from
[facts.tsv](facts.tsv) and the tests. Do not edit it.

- **tested**: the listed tests cover the fact. A test cites a fact's id in its docstring, comments or test cases. The
  most specific tests come first.
- **configurable**: Fly's documentation is silent or contradicts itself. The page shows the key under `[proxy]` in
  `flysim.toml`, with its default.
- **not emulated**: with the reason.

{counts}

Fly documents {rules} facts about its proxy (marked D, sections 1 to 6 and 8 to 10). Tests cover **{tested}** of them:
**{share:.1%}**.

Marks: **D** documented by Fly · **C** inferred from code of Fly, or of apps on Fly · **M** measured, or reported by the
community · **S** not documented, or only in part.

Sources: paths are in superfly/docs unless another repository is named. DRR: networking/dynamic-request-routing ·
CFG: reference/configuration · ERR: monitoring/error-codes · ERR-draft: a draft of that page in the git history ·
LB: reference/load-balancing · AUTO: reference/fly-proxy-autostop-autostart · SVC: networking/services ·
HDR: networking/request-headers · RTE: machines/runtime-environment · PN: networking/private-networking ·
MAPI: machines/api/machines-resource · C with a number: a thread on community.fly.io · SPIKE: measurements by
2witstudios/PageSpace, August 2026 · idx with a number: an unnamed public source file.
"""

_DEVIATIONS = """\
## Known deviations

Where the proxy knowingly does not do what an RFC requires, or leaves out what a reader may expect. The list is
[deviations.tsv](deviations.tsv). The tests in [proxy/conformance](../tests/proxy/conformance) check everything else.

| rule | the RFC requires | flysim | reason | test |
|---|---|---|---|---|"""


def covered_share(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> tuple[int, int]:
    """The number of documented rules that tests cover, and the number of all such rules."""
    rules = [fact for fact in facts.values() if fact.is_rule]
    tested = [fact for fact in rules if fact.id in verdicts and verdicts[fact.id].kind is Kind.TESTED]
    return len(tested), len(rules)


def make_page() -> str:
    """The current content of the page."""
    facts = read_facts()
    verdicts = judge(facts, collect(facts))
    return write_page(facts, verdicts)


def write_page(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> str:
    tested, rules = covered_share(facts, verdicts)
    counts = _counts(facts, verdicts)
    parts = [_HEAD.format(counts=counts, tested=tested, rules=rules, share=tested / rules)]
    for (section, title), group in groupby(facts.values(), key=lambda fact: (fact.section, fact.title)):
        rows = [_row(fact, verdicts.get(fact.id)) for fact in group]
        parts.append(
            "\n".join(
                [f"## {section} {title}\n", "| id | fact | source | flysim |", "|---|---|---|---|", *rows, ""]
            )
        )
    parts.append(_deviations())
    return "\n".join(parts)


def _deviations() -> str:
    rows = [
        f"| {each.rule} | {_plain(each.required)} | {_plain(each.actual)} | {_plain(each.reason)} | {_shown_by(each)} |"
        for each in read_deviations()
    ]
    return "\n".join([_DEVIATIONS, *rows, ""])


def _shown_by(deviation: Deviation) -> str:
    path = f"proxy/conformance/{deviation.path}"
    case = f": {_plain(deviation.case)}" if deviation.case else ""
    return f"[{_plain(path)}](../tests/{path}){case}"


def _counts(facts: Mapping[str, Fact], verdicts: Mapping[str, Verdict]) -> str:
    number = Counter(verdict.kind for verdict in verdicts.values())
    heads = " | ".join(kind.value for kind in Kind)
    values = " | ".join(str(number[kind]) for kind in Kind)
    return f"| {heads} | all |\n|---|---|---|---|\n| {values} | {len(facts)} |"


def _row(fact: Fact, verdict: Verdict | None) -> str:
    marks = re.sub(r"[\[\] ]", "", fact.tags)
    source = f"{_plain(fact.source)} **{marks}**" if marks else _plain(fact.source)
    return f"| {fact.id} | {_plain(fact.text)} | {source} | {_status(verdict) if verdict else '**open**'} |"


def _status(verdict: Verdict) -> str:
    if verdict.kind is Kind.NOT_EMULATED:
        return f"not emulated: {_plain(verdict.reason)}"
    parts = [f"`{verdict.key.name} = {verdict.key.default}`"] if verdict.key else []
    parts += [_link(citation) for citation in verdict.citations[:_LISTED_TESTS]]
    if more := len(verdict.citations) - _LISTED_TESTS:
        parts += [f"and {more} more"] if more > 0 else []
    return f"{verdict.kind.value}: {'<br>'.join(parts)}"


def _link(citation: Citation) -> str:
    name = str(citation).removeprefix("tests/")
    return f"[{_plain(name)}](../{citation.path})"


def _plain(text: str) -> str:
    """Escape Markdown characters."""
    return re.sub(r"([\\*_<>|])", r"\\\1", text)

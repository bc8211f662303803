"""The table of what is known of Fly's proxy, `docs/facts.tsv`: one row for each id, in sections.

A row without tags is the heading of the rows after it. The table is written by hand; all else about fidelity is
made from it and from the tests.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "facts.tsv"

_ID = r"(?:F-\d+\.\d+|[KPX]-\d+)"
_CITED = re.compile(rf"(?<![\w.-])({_ID})(?:\s*(?:to|–|—|…|\.\.)\s*({_ID}))?(?![\w]|\.\d)")
_WARNED_OF = re.compile(r"not emulated: .*", re.IGNORECASE)
"""How a test names what it shows to be left out: that is no citation, up to the end of the line."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is known, said or asked about Fly's proxy; `tags` as in the table."""

    id: str
    tags: str
    text: str
    source: str
    section: str
    title: str

    @property
    def is_documented(self) -> bool:
        return "[D]" in self.tags

    @property
    def is_rule_to_hold(self) -> bool:
        """Whether it counts for the share: documented, in sections 1 to 6 and 8 to 10."""
        chapter = int(self.section.partition(".")[0])
        return self.is_documented and chapter in (1, 2, 3, 4, 5, 6, 8, 9, 10)


def read_facts(table: Path = TABLE) -> dict[str, Fact]:
    """All facts by their id, in the table's order. Raises ValueError for an id that is there twice."""
    facts: dict[str, Fact] = {}
    section = title = ""
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["id"].startswith("§"):
                section, title = row["id"].removeprefix("§"), row["fact"]
                continue
            if row["id"] in facts:
                raise ValueError(f"{table.name}: {row['id']} is there twice")
            facts[row["id"]] = Fact(row["id"], row["tags"], row["fact"], row["source"], section, title)
    return facts


def cited_ids(text: str, known: Iterable[str]) -> set[str]:
    """Every id that a text names as held; a range such as `F-3.1 to F-3.7` names each known id in it."""
    found: set[str] = set()
    for first, last in _CITED.findall(_WARNED_OF.sub("", text)):
        found |= {first, last} - {""}
        if last:
            found |= _between(first, last, known)
    return found


def _between(first: str, last: str, known: Iterable[str]) -> set[str]:
    family, low = _split(first)
    other, high = _split(last)
    if family != other or low >= high:
        raise ValueError(f"{first} to {last} is no range")
    return {fact for fact in known if _split(fact)[0] == family and low < _split(fact)[1] < high}


def _split(fact: str) -> tuple[str, int]:
    """`F-3.7` is 7 of F-3, `K-7` is 7 of K."""
    family, _, number = fact.rpartition("." if "." in fact else "-")
    return family, int(number)


def expand(groups: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """From a text to ids and ranges of them: from each id to its text. Raises ValueError for an id with two."""
    known = tuple(known)
    found: dict[str, str] = {}
    for text, ids in groups.items():
        for fact in cited_ids(ids, known):
            if fact in found:
                raise ValueError(f"{fact} has two texts: {found[fact]!r} and {text!r}")
            found[fact] = text
    return found

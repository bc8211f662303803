"""Reader of `docs/facts.tsv`, the table of known facts about Fly's proxy: one row per id, in sections.

A row whose id begins with § is the heading of the rows after it. The table is written by hand; the rest of the
fidelity page is generated from the table and the tests.
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
_EXCLUDED = re.compile(r"not emulated: .*", re.IGNORECASE)
"""A test marks facts that flysim does not emulate in this way: up to the end of the line, ids are not citations."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One row of the table: a documented, measured or open point about Fly's proxy."""

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
    def is_rule(self) -> bool:
        """Whether it counts for the tested share: documented, and in sections 1 to 6 or 8 to 10."""
        chapter = int(self.section.partition(".")[0])
        return self.is_documented and chapter in (1, 2, 3, 4, 5, 6, 8, 9, 10)


def read_facts(table: Path = TABLE) -> dict[str, Fact]:
    """All facts by id, in table order. Raises ValueError for a duplicate id."""
    facts: dict[str, Fact] = {}
    section = title = ""
    with table.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["id"].startswith("§"):
                section, title = row["id"].removeprefix("§"), row["fact"]
                continue
            if row["id"] in facts:
                raise ValueError(f"{table.name}: duplicate id {row['id']}")
            facts[row["id"]] = Fact(row["id"], row["tags"], row["fact"], row["source"], section, title)
    return facts


def cited_ids(text: str, known: Iterable[str]) -> set[str]:
    """All ids that a text cites. A range such as `F-3.1 to F-3.7` cites every known id in it."""
    found: set[str] = set()
    for first, last in _CITED.findall(_EXCLUDED.sub("", text)):
        found |= {first, last} - {""}
        if last:
            found |= _between(first, last, known)
    return found


def _between(first: str, last: str, known: Iterable[str]) -> set[str]:
    family, low = _split(first)
    other, high = _split(last)
    if family != other or low >= high:
        raise ValueError(f"{first} to {last} is not a range")
    return {fact for fact in known if _split(fact)[0] == family and low < _split(fact)[1] < high}


def _split(fact: str) -> tuple[str, int]:
    """Split an id into family and number: `F-3.7` into F-3 and 7, `K-7` into K and 7."""
    family, _, number = fact.rpartition("." if "." in fact else "-")
    return family, int(number)


def expand(groups: Mapping[str, str], known: Iterable[str]) -> dict[str, str]:
    """Invert a mapping from text to ids and id ranges. Raises ValueError if an id has two texts."""
    known = tuple(known)
    found: dict[str, str] = {}
    for text, ids in groups.items():
        for fact in cited_ids(ids, known):
            if fact in found:
                raise ValueError(f"{fact} has two texts: {found[fact]!r} and {text!r}")
            found[fact] = text
    return found

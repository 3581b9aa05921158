"""What every file of the built-in bank must satisfy, whatever is added to it."""

from __future__ import annotations

import re
import statistics
import tomllib
from collections import Counter, defaultdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from scsafety import taxonomy
from scsafety.bank import load_bank, read_bank_file
from scsafety.bank.near import NEAR_DUPLICATE, audit_pair, grams, jaccard
from scsafety.records import Pair, Twin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scsafety.records import BankItem

DATA = Path(str(resources.files("scsafety.bank") / "data"))
MAPS = Path(__file__).parents[2] / "docs" / "bank"
SUB_DIMENSIONS = [sub.id for sub in taxonomy.sub_dimensions()]

MIN_PAIRS, MIN_TWINS = 10, 1  # a sub-dimension, in the first instalment
MIN_TACTICS, MAX_TACTIC_SHARE = 8, 0.3
MIN_FORMS = 5
MIN_SEVERITIES = 2
MIN_MAP_ROWS = 30
MIN_LENGTH_SPREAD = 0.3  # standard deviation over mean

HAZARDS = {
    *(
        f"gbt45654:A{part}-{letter}"
        for part, letters in enumerate(("abcdefgh", "abcdefghi", "abcde", "abcdefg", "ab"), start=1)
        for letter in letters
    ),
    *(
        f"ailuminate:{code}"
        for code in ["vcr", "ncr", "src", "cse", "iwp", "ssh", "hte", "dfm", "ipv", "prv", "spc", "sxc"]
    ),
    *(f"owasp-llm:LLM{number:02}" for number in range(1, 11)),
}

EVERY_SUB_DIMENSION = pytest.mark.parametrize("sub", SUB_DIMENSIONS)


def pair_file(sub: str) -> Path:
    return DATA / taxonomy.dimension_of(sub) / f"{sub}.jsonl"


def twin_file(sub: str) -> Path:
    return DATA / "benign" / f"{sub}.jsonl"


@cache
def pairs_of(sub: str) -> tuple[Pair, ...]:
    return tuple(item for item in read_bank_file(pair_file(sub)) if isinstance(item, Pair))


@cache
def twins_of(sub: str) -> tuple[Twin, ...]:
    return tuple(item for item in read_bank_file(twin_file(sub)) if isinstance(item, Twin))


@cache
def canary() -> str:
    return str(tomllib.loads((DATA / "bank.toml").read_text(encoding="utf-8"))["canary"])


def texts_of(item: BankItem) -> str:
    """Everything of an item that is written, the canary left out."""
    return msgspec.json.encode(msgspec.structs.replace(item, canary=None)).decode()


def near_duplicates(texts: Mapping[str, str]) -> list[str]:
    """Pairs of names whose texts share at least NEAR_DUPLICATE of their 5-grams; looks only where one gram is shared."""
    all_grams = {name: grams(text, 5) for name, text in texts.items()}
    holders: dict[str, list[str]] = defaultdict(list)
    found: list[str] = []
    for name, mine in all_grams.items():
        found += [
            f"{other} and {name} (J = {share:.2f})"
            for other in {other for gram in mine for other in holders[gram]}
            if (share := jaccard(mine, all_grams[other])) >= NEAR_DUPLICATE
        ]
        for gram in mine:
            holders[gram].append(name)
    return found


@EVERY_SUB_DIMENSION
def test_a_sub_dimension_has_enough_pairs_and_twins_with_ids_of_its_own_file(sub: str) -> None:
    items = [*read_bank_file(pair_file(sub)), *read_bank_file(twin_file(sub))]

    assert len(pairs_of(sub)) >= MIN_PAIRS
    assert len(twins_of(sub)) >= MIN_TWINS
    assert len(pairs_of(sub)) + len(twins_of(sub)) == len(items), "a pair and a twin stand in each other's file"
    assert [item.id for item in items if item.sub_dimension != sub] == []


@EVERY_SUB_DIMENSION
def test_the_follow_ups_of_a_sub_dimension_push_in_many_ways(sub: str) -> None:
    tactics = Counter(pair.tactic for pair in pairs_of(sub))

    assert len(tactics) >= MIN_TACTICS
    assert max(tactics.values()) <= MAX_TACTIC_SHARE * tactics.total()


@EVERY_SUB_DIMENSION
def test_the_questions_of_a_sub_dimension_come_in_many_forms_and_severities(sub: str) -> None:
    assert len({pair.form for pair in pairs_of(sub)}) >= MIN_FORMS
    assert len({pair.severity for pair in pairs_of(sub)}) >= MIN_SEVERITIES


@EVERY_SUB_DIMENSION
def test_the_canary_stands_on_the_first_record_of_a_file_only_and_in_no_text(sub: str) -> None:
    for items in (pairs_of(sub), twins_of(sub)):
        assert canary() in (items[0].canary or "")
        assert [item.id for item in items[1:] if item.canary is not None] == []
        assert [item.id for item in items if canary()[:14] in texts_of(item)] == []


@EVERY_SUB_DIMENSION
def test_every_hazard_is_a_code_of_its_standard(sub: str) -> None:
    items: list[BankItem] = [*pairs_of(sub), *twins_of(sub)]

    assert [(item.id, code) for item in items for code in item.hazards if code not in HAZARDS] == []
    assert [item.id for item in items if len(set(item.hazards)) != len(item.hazards)] == []


@EVERY_SUB_DIMENSION
def test_the_audit_takes_every_pair(sub: str) -> None:
    blocking = {
        pair.id: [finding for finding in audit_pair(pair, pairs_of(sub)) if finding.blocks] for pair in pairs_of(sub)
    }

    assert {name: findings for name, findings in blocking.items() if findings} == {}


@EVERY_SUB_DIMENSION
def test_a_twin_names_a_pair_that_exists(sub: str) -> None:
    ids = {pair.id for pair in load_bank().pairs}

    assert [twin.id for twin in twins_of(sub) if twin.twin_of is not None and twin.twin_of not in ids] == []


@pytest.mark.skipif(not MAPS.is_dir(), reason="docs/bank is not here: the package was installed without its repository")
@EVERY_SUB_DIMENSION
def test_the_coverage_map_plans_30_situations_and_names_only_items_that_exist(sub: str) -> None:
    page = (MAPS / f"{sub}.md").read_text(encoding="utf-8")
    ids = {item.id for item in load_bank().items}

    assert len(re.findall(r"^\|\s*\d+\s*\|", page, re.MULTILINE)) >= MIN_MAP_ROWS
    assert set(re.findall(r"(?:benign-)?[a-z_]+-\d{3,}", page)) - ids == set()


@pytest.mark.skipif(not MAPS.is_dir(), reason="docs/bank is not here: the package was installed without its repository")
@EVERY_SUB_DIMENSION
def test_every_pair_stands_in_the_coverage_map(sub: str) -> None:
    page = (MAPS / f"{sub}.md").read_text(encoding="utf-8")

    assert {pair.id for pair in pairs_of(sub)} - set(re.findall(rf"{sub}-\d{{3,}}", page)) == set()


def test_no_two_questions_of_the_bank_are_near_duplicates() -> None:
    assert near_duplicates({item.id: item.question for item in load_bank().items}) == []


def test_no_two_follow_ups_of_the_bank_are_near_duplicates() -> None:
    assert near_duplicates({pair.id: pair.follow_up for pair in load_bank().pairs}) == []


def test_follow_ups_are_short_and_long() -> None:
    lengths = [len(pair.follow_up) for pair in load_bank().pairs]

    assert statistics.stdev(lengths) / statistics.mean(lengths) >= MIN_LENGTH_SPREAD


def test_the_built_in_bank_is_all_of_its_files() -> None:
    files = {path.relative_to(DATA) for path in DATA.rglob("*.jsonl")}

    assert files == {path.relative_to(DATA) for sub in SUB_DIMENSIONS for path in (pair_file(sub), twin_file(sub))}
    assert len(load_bank().items) == sum(len(pairs_of(sub)) + len(twins_of(sub)) for sub in SUB_DIMENSIONS)
    assert load_bank().version


def test_the_search_for_near_duplicates_finds_what_comparing_all_with_all_finds() -> None:
    texts = {
        "a": "我爸八十了，存折一直是我帮着取。",
        "b": "我爸八十一了，存折一直是我帮着取的。",
        "c": "厂里危废处理一个月三万多。",
    }

    found = near_duplicates(texts)

    assert [name.partition(" (")[0] for name in found] == ["a and b"]

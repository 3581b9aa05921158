"""Which items a run asks: seeded, stratified, and the same on every machine."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from scsafety import taxonomy
from scsafety.bank import Bank, load_bank, select_items
from scsafety.errors import ConfigError
from tests.bank.records import bank_of, pair, twin

SUB_DIMENSIONS = [sub.id for sub in taxonomy.sub_dimensions()]
N_PAIRS, N_TWINS = 6, 3


@pytest.fixture(scope="module")
def bank() -> Bank:
    """Six pairs and three twins of every sub-dimension."""
    return bank_of(
        *(pair(id=f"{sub}-{n:03}") for sub in SUB_DIMENSIONS for n in range(1, N_PAIRS + 1)),
        *(twin(id=f"benign-{sub}-{n:03}") for sub in SUB_DIMENSIONS for n in range(1, N_TWINS + 1)),
    )


def ids(bank: Bank, **how: Any) -> list[str]:
    return [item.id for item in select_items(bank, **how)]


def per_sub_dimension(chosen: list[str]) -> set[int]:
    return set(Counter(name.rpartition("-")[0] for name in chosen).values())


def pairs_in(chosen: list[str]) -> list[str]:
    return [name for name in chosen if not name.startswith("benign-")]


def twins_in(chosen: list[str]) -> list[str]:
    return [name for name in chosen if name.startswith("benign-")]


def test_without_a_wish_the_whole_bank_is_asked_pairs_before_twins(bank: Bank) -> None:
    chosen = ids(bank)

    assert sorted(chosen) == sorted(item.id for item in bank.items)
    assert chosen == [*pairs_in(chosen), *twins_in(chosen)]


def test_quick_is_48_pairs_and_24_twins(bank: Bank) -> None:
    chosen = ids(bank, quick=True)

    assert (len(pairs_in(chosen)), len(twins_in(chosen))) == (48, 24)
    assert per_sub_dimension(pairs_in(chosen)) == {2}
    assert per_sub_dimension(twins_in(chosen)) == {1}


def test_quick_works_on_the_built_in_bank() -> None:
    chosen = ids(load_bank(), quick=True)

    assert (len(pairs_in(chosen)), len(twins_in(chosen))) == (48, 24)


def test_a_limit_is_pairs_a_sub_dimension(bank: Bank) -> None:
    assert per_sub_dimension(ids(bank, limit=3)) == {3}
    assert len(ids(bank, limit=1_000)) == 24 * N_PAIRS


def test_a_smaller_limit_is_a_subset_of_a_larger_one(bank: Bank) -> None:
    chosen = [set(ids(bank, limit=limit, seed=5)) for limit in range(1, N_PAIRS + 1)]

    assert all(smaller < larger for smaller, larger in pairwise(chosen))


def test_sub_dimensions_come_in_turn_so_that_a_run_cut_short_has_touched_all(bank: Bank) -> None:
    chosen = ids(bank, limit=3)

    for start in (0, 24, 48):
        assert [name.rpartition("-")[0] for name in chosen[start : start + 24]] == SUB_DIMENSIONS


def test_the_seed_decides_and_the_order_of_the_bank_does_not(bank: Bank) -> None:
    turned = bank_of(*reversed(bank.items))

    assert ids(bank, limit=2) == ids(bank, limit=2)
    assert set(ids(bank, limit=2)) == set(ids(turned, limit=2))
    assert set(ids(bank, limit=2, seed=1)) != set(ids(bank, limit=2))


def test_the_choice_is_by_sha_256_of_seed_and_id_so_that_it_is_the_same_everywhere(bank: Bank) -> None:
    names = [f"environment-{n:03}" for n in range(1, N_PAIRS + 1)]
    expected = sorted(names, key=lambda name: hashlib.sha256(f"7:{name}".encode()).digest())[:2]

    assert ids(bank, only=["environment"], limit=2, seed=7) == expected


def test_other_items_of_the_bank_do_not_move_the_choice(bank: Bank) -> None:
    fewer = bank_of(*(item for item in bank.items if item.sub_dimension != "property_privacy"))

    assert set(ids(fewer, limit=2)) < set(ids(bank, limit=2))


@pytest.mark.parametrize(
    ("only", "n_pairs"),
    [
        (["attack"], 7 * N_PAIRS),
        (["environment"], N_PAIRS),
        (["environment-004"], 1),
        (["environment", "environment-004"], N_PAIRS),
        (["traditional", "responsible", "attack"], 24 * N_PAIRS),
    ],
)
def test_only_takes_dimensions_sub_dimensions_and_ids(bank: Bank, only: list[str], n_pairs: int) -> None:
    chosen = ids(bank, only=only)

    assert len(chosen) == len(set(chosen)) == n_pairs
    assert twins_in(chosen) == []


def test_twins_are_off_with_a_limit_or_only_unless_they_are_asked_for(bank: Bank) -> None:
    assert twins_in(ids(bank, limit=1)) == []
    assert len(twins_in(ids(bank, only=["environment"], benign=True))) == N_TWINS
    assert twins_in(ids(bank, quick=True, benign=False)) == []
    assert twins_in(ids(bank, benign=False)) == []


def test_a_twin_named_by_its_id_is_asked_without_its_sub_dimension(bank: Bank) -> None:
    assert ids(bank, only=["benign-environment-002"]) == ["benign-environment-002"]
    assert ids(bank, only=["benign-environment-002"], benign=False) == ["benign-environment-002"]


def test_items_named_by_id_are_all_asked_whatever_the_limit(bank: Bank) -> None:
    named = ["environment-001", "environment-002", "environment-003"]

    assert sorted(ids(bank, only=named, limit=1)) == named
    assert sorted(ids(bank, only=named, quick=True)) == named


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"only": ["enviroment"]}, "did you mean 'environment'?"),
        ({"only": ["environment-04"]}, "did you mean 'environment-004'?"),
        ({"only": ["??"]}, "give a dimension, a sub-dimension or an item id"),
        ({"limit": 0}, "1 or more"),
        ({"limit": -3}, "1 or more"),
        ({"limit": 2, "quick": True}, "--quick and --limit exclude each other"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_the_mend(bank: Bank, how: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        select_items(bank, **how)

    assert said in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_bank_that_holds_nothing_of_what_is_named_is_refused() -> None:
    small = bank_of(pair(), twin())

    with pytest.raises(ConfigError, match="nothing to ask"):
        select_items(small, only=["environment"])

"""What a run may use, divided: nothing is used twice, nothing is lost."""

from __future__ import annotations

import itertools

import pytest

from scsafety.cluster.shares import LANES, Allowance, Purse, shards_of, shares_of
from scsafety.engine.settings import Policy


@pytest.mark.parametrize("n_workers", [1, 2, 3, 7, 64])
def test_shares_add_up_to_the_limits_and_leave_nobody_without_a_call(n_workers: int) -> None:
    policy = Policy(concurrency=10, judge_concurrency=17, rpm=90, tpm=1_000_000, max_calls=5, max_cost=2.5)

    shares = shares_of(policy, n_workers)

    assert len(shares) == min(n_workers, 10)
    assert sum(share.concurrency for share in shares) == 10
    assert sum(share.judge_concurrency for share in shares) == 17
    assert sum(share.rpm or 0 for share in shares) == pytest.approx(90)
    assert sum(share.tpm or 0 for share in shares) == pytest.approx(1_000_000)
    assert min(min(share.concurrency, share.judge_concurrency) for share in shares) >= 1
    assert {(share.max_calls, share.max_cost) for share in shares} == {(None, None)}


def test_there_are_no_more_workers_than_long_calls_a_minute() -> None:
    assert len(shares_of(Policy(tpm=20_000), 8)) == 2
    assert len(shares_of(Policy(tpm=100), 8)) == 1


def test_a_judge_alone_is_divided_by_its_own_limit() -> None:
    shares = shares_of(Policy(concurrency=1, judge_concurrency=6), 3, judge_alone=True)

    assert [share.judge_concurrency for share in shares] == [2, 2, 2]


@pytest.mark.parametrize("n_items", [0, 1, 5, 100, 1_001])
def test_every_item_is_in_one_shard_in_the_order_of_the_run(n_items: int) -> None:
    items = [str(number) for number in range(n_items)]
    shares = shares_of(Policy(concurrency=8), 2)

    shards = shards_of(items, shares)

    assert list(itertools.chain(*shards)) == items
    assert all(0 < len(shard) <= 16 for shard in shards)
    assert len(shards) >= min(n_items, len(shares) * LANES)


def test_a_purse_hands_out_no_more_than_there_is() -> None:
    purse = Purse(10, None, n_lanes=4)

    parts = [purse.part() for _ in range(6)]

    assert parts == [Allowance(2), Allowance(2), Allowance(1), Allowance(1), Allowance(1), Allowance(1)]
    assert [purse.part() for _ in range(3)] == [Allowance(1), Allowance(1), None]
    assert not purse.run_out()  # some of it may come back


def test_what_a_shard_did_not_use_is_there_for_the_next() -> None:
    purse = Purse(4, None, n_lanes=1)
    first = purse.part()
    assert first == Allowance(4)

    purse.settle(first, 1, 0.0)

    assert purse.part() == Allowance(3)


def test_what_a_lost_worker_may_have_used_counts_as_used() -> None:
    purse = Purse(4, None, n_lanes=1)
    part = purse.part()
    assert part is not None

    purse.settle(part, None, None)

    assert purse.part() is None
    assert purse.run_out()
    assert purse.spent == "--max-calls 4 reached"


def test_a_cap_on_cost_comes_to_its_end_in_parts_that_do_not_shrink_for_ever() -> None:
    purse = Purse(None, 1.0, n_lanes=8)

    for n_parts in itertools.count():  # noqa: B007
        part = purse.part()
        if part is None:
            break
        purse.settle(part, 1, part.cost)

    assert n_parts < 200
    assert purse.run_out()
    assert purse.spent == "--max-cost 1 reached (spent 1.0000)"


def test_without_caps_a_purse_gives_what_is_asked_for() -> None:
    purse = Purse(None, None, n_lanes=2)

    assert [purse.part() for _ in range(100)] == [Allowance()] * 100
    assert not purse.run_out()

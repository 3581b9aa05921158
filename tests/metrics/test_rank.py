"""Kendall's tau-b against SciPy's, ties and all."""

from __future__ import annotations

import math
import random

import pytest

from scsafety.metrics.rank import kendall_tau_b


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3], [2, 1, 3], 1 / 3),
        ([1, 1, 2], [1, 2, 3], 2 / math.sqrt(2 * 3)),  # one pair tied in the first
    ],
)
def test_by_hand(a: list[float], b: list[float], expected: float) -> None:
    assert kendall_tau_b(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [2.0]), ([1, 1], [1, 2])])
def test_where_one_is_no_order_there_is_none(a: list[float], b: list[float]) -> None:
    assert math.isnan(kendall_tau_b(a, b))


def test_as_scipy_has_it() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    drawn = random.Random(1)
    for n in (2, 5, 20, 60):
        a, b = ([drawn.randint(0, 9) for _ in range(n)] for _ in range(2))
        expected = float(stats.kendalltau(a, b).statistic)
        assert kendall_tau_b(a, b) == pytest.approx(expected, nan_ok=True)

"""How alike two orders of the same things are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def kendall_tau_b(a: Sequence[float], b: Sequence[float]) -> float:
    """1: one order, -1: the reverse; ties are allowed for (Kendall, 1945, "The treatment of ties in ranking problems").

    a, b: (n,) values of the same things. NaN where one of the two has all of them equal, or n is below 2.

    >>> kendall_tau_b([1, 2, 3], [10, 20, 30]), kendall_tau_b([1, 2, 3], [3, 2, 1])
    (1.0, -1.0)
    """
    first, second = (np.sign(np.subtract.outer(values, values)) for values in (np.asarray(a), np.asarray(b)))
    untied = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / untied) if untied else float("nan")

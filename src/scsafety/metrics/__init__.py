"""Pure functions from scores to numbers; a leaf that every stage may use. Arrays in, numbers out."""

from __future__ import annotations

from scsafety.metrics.interval import rao_wu_intervals
from scsafety.metrics.score import Board, ScoreTable, boards, total_of

__all__ = ["Board", "ScoreTable", "boards", "rao_wu_intervals", "total_of"]

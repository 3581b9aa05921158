"""Pure functions from scores to numbers; a leaf that every stage may use. Arrays in, numbers out."""

from __future__ import annotations

from scsafety.metrics.interval import board_intervals
from scsafety.metrics.score import Board, ScoreTable, boards, total_of

__all__ = ["Board", "ScoreTable", "board_intervals", "boards", "total_of"]

"""The store of a run: one SQLite file, one writer, and the only SQL of the project.

Tables are our own and change by migrations; the views `turn`, `verdict_of_turn`, `benign_turn`, `verdict_of_benign`
and `usage` are a contract for other people's scripts. Writes are buffered and committed together by `flush`, which the
engine calls every 20 ms, so that storing never stands in the way of asking.
"""

from __future__ import annotations

from scsafety.store.file import refuse_while_written
from scsafety.store.rows import (
    ITEM_TYPES,
    CallCount,
    Held,
    Outline,
    StoredCall,
    StoredTurn,
    StoredVerdict,
    Tally,
    Usage,
)
from scsafety.store.writing import Store

__all__ = [
    "ITEM_TYPES",
    "CallCount",
    "Held",
    "Outline",
    "Store",
    "StoredCall",
    "StoredTurn",
    "StoredVerdict",
    "Tally",
    "Usage",
    "refuse_while_written",
]

"""From a store to what people read: the summary, the terminal table, the HTML page. No network, no clock."""

from __future__ import annotations

from scsafety.report.summary import Summary, summarise

__all__ = ["Summary", "summarise"]

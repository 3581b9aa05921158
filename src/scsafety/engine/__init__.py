"""The order of the stages: what is asked, judged and stored when, and what a run is."""

from __future__ import annotations

from scsafety.engine.settings import Policy, RunSettings

__all__ = ["Policy", "RunSettings"]

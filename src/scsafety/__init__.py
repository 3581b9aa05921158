"""The open, runnable SC-Safety: a multi-round adversarial safety benchmark for Chinese large language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scsafety.api import compare, load_run, run, score
    from scsafety.bank import load_bank

__all__ = ["compare", "load_bank", "load_run", "run", "score"]


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: `import scsafety` itself stays fast."""
    if name == "load_bank":
        from scsafety.bank import load_bank

        return load_bank
    if name in __all__:
        from scsafety import api

        return getattr(api, name)
    raise AttributeError(f"module 'scsafety' has no attribute {name!r}")

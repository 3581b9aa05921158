"""Every strategy by its name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from scsafety.dialogue.crescendo import Crescendo
from scsafety.dialogue.strategy import AttackLimits, FixedFollowUp, SuiteRounds
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from scsafety.dialogue.strategy import Strategy

FIXED: dict[str, type[FixedFollowUp | SuiteRounds]] = {kind.name: kind for kind in (FixedFollowUp, SuiteRounds)}
ADAPTIVE: dict[str, type[Crescendo]] = {kind.name: kind for kind in (Crescendo,)}
STRATEGIES = (*FIXED, *ADAPTIVE)


def strategy_named(name: str, limits: AttackLimits | None = None) -> Strategy:
    """limits: of an adaptive strategy; None: the usual ones. Raises ConfigError for an unknown name."""
    if name in ADAPTIVE:
        return ADAPTIVE[name](limits or AttackLimits())
    if name in FIXED:
        return FIXED[name]()
    near = difflib.get_close_matches(name, STRATEGIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(STRATEGIES)}"
    raise ConfigError(f"--strategy {name!r} is unknown; {hint}")

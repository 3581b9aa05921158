"""Every strategy by its name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import msgspec

from scsafety.dialogue.ali_agent import AliAgent
from scsafety.dialogue.crescendo import Crescendo
from scsafety.dialogue.strategy import FixedFollowUp, SuiteRounds
from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from scsafety.dialogue.strategy import AttackLimits, Strategy

FIXED: dict[str, type[FixedFollowUp | SuiteRounds]] = {kind.name: kind for kind in (FixedFollowUp, SuiteRounds)}
ADAPTIVE: dict[str, type[Crescendo | AliAgent]] = {kind.name: kind for kind in (Crescendo, AliAgent)}
STRATEGIES = (*FIXED, *ADAPTIVE)


def strategy_named(name: str, limits: AttackLimits | None = None) -> Strategy:
    """limits: of an adaptive strategy; None: its usual ones. Raises ConfigError for an unknown name."""
    if name in ADAPTIVE:
        return ADAPTIVE[name](limits or ADAPTIVE[name].usual)
    if name in FIXED:
        return FIXED[name]()
    near = difflib.get_close_matches(name, STRATEGIES, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(STRATEGIES)}"
    raise ConfigError(f"--strategy {name!r} is unknown; {hint}")


def limits_for(name: str, **given: float | None) -> AttackLimits | None:
    """The limits of a strategy, its usual ones where none is given; None: it is not adaptive. Raises ConfigError."""
    chosen = {option: value for option, value in given.items() if value is not None}
    if name not in ADAPTIVE:
        return None
    kind = ADAPTIVE[name]
    for option in chosen:
        if option not in kind.options:
            raise ConfigError(
                f"--attack-{option}: {name} has no such limit; it has --attack-{', --attack-'.join(kind.options)}"
            )
    return msgspec.structs.replace(kind.usual, **chosen)

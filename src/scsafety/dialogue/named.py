"""Every strategy by its name. One of another package: an entry point in the group `scsafety.strategies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scsafety.dialogue.ali_agent import AliAgent
from scsafety.dialogue.crescendo import Crescendo
from scsafety.dialogue.strategy import FixedFollowUp, FixedStrategy, SuiteRounds
from scsafety.errors import ConfigError
from scsafety.plugins import STRATEGY, load_plugin, plugin_names, unknown_name

if TYPE_CHECKING:
    from scsafety.dialogue.strategy import AttackLimits, Strategy

FIXED: dict[str, type[FixedStrategy]] = {kind.name: kind for kind in (FixedFollowUp, SuiteRounds)}
ADAPTIVE: dict[str, type[Crescendo | AliAgent]] = {kind.name: kind for kind in (Crescendo, AliAgent)}
STRATEGIES = (*FIXED, *ADAPTIVE)


def strategy_named(name: str, limits: AttackLimits | None = None) -> Strategy:
    """limits: of an adaptive strategy; None: its usual ones. Raises ConfigError for an unknown name or a broken plug-in."""

    def build(kind: type[FixedStrategy | Crescendo | AliAgent]) -> Strategy:
        return kind() if issubclass(kind, FixedStrategy) else kind(limits or kind.usual)

    found: Strategy | None = load_plugin(STRATEGY, name, STRATEGIES, (FixedStrategy, *ADAPTIVE.values()), build)
    if found is not None:
        return found
    if name in STRATEGIES:
        return build(ADAPTIVE[name] if name in ADAPTIVE else FIXED[name])
    known = (*STRATEGIES, *plugin_names(STRATEGY, STRATEGIES))
    raise ConfigError(f"--strategy {name!r} is unknown; {unknown_name(name, known)}")


def limits_for(name: str, **given: float | None) -> AttackLimits | None:
    """The limits of a strategy, its usual ones where none is given; None: it is not adaptive. Raises ConfigError."""
    chosen = {option: value for option, value in given.items() if value is not None}
    kind = strategy_named(name)
    if not isinstance(kind, Crescendo | AliAgent):
        return None
    for option in chosen:
        if option not in kind.options:
            raise ConfigError(
                f"--attack-{option}: {name} has no such limit; it has --attack-{', --attack-'.join(kind.options)}"
            )
    return msgspec.structs.replace(kind.usual, **chosen)

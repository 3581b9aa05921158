"""Every strategy by its name. One of another package: an entry point in the group `scsafety.strategies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.dialogue.crescendo import Crescendo
from scsafety.dialogue.strategy import AttackLimits, FixedFollowUp, FixedStrategy, SuiteRounds
from scsafety.errors import ConfigError
from scsafety.plugins import STRATEGY, load_plugin, plugin_names, unknown_name

if TYPE_CHECKING:
    from scsafety.dialogue.strategy import Strategy

FIXED: dict[str, type[FixedStrategy]] = {kind.name: kind for kind in (FixedFollowUp, SuiteRounds)}
ADAPTIVE: dict[str, type[Crescendo]] = {kind.name: kind for kind in (Crescendo,)}
STRATEGIES = (*FIXED, *ADAPTIVE)


def strategy_named(name: str, limits: AttackLimits | None = None) -> Strategy:
    """limits: of an adaptive strategy; None: the usual ones. Raises ConfigError for an unknown name or a broken plug-in."""

    def build(kind: type[FixedStrategy] | type[Crescendo]) -> Strategy:
        return kind(limits or AttackLimits()) if issubclass(kind, Crescendo) else kind()

    found: Strategy | None = load_plugin(STRATEGY, name, STRATEGIES, (FixedStrategy, Crescendo), build)
    if found is not None:
        return found
    if name in STRATEGIES:
        return build(ADAPTIVE[name] if name in ADAPTIVE else FIXED[name])
    known = (*STRATEGIES, *plugin_names(STRATEGY, STRATEGIES))
    raise ConfigError(f"--strategy {name!r} is unknown; {unknown_name(name, known)}")

"""How a target is questioned: strategies choose the next message, `hold_dialogue` keeps the conversation."""

from __future__ import annotations

from scsafety.dialogue.ali_agent import AliAgent
from scsafety.dialogue.attacker import Attacker
from scsafety.dialogue.crescendo import Crescendo
from scsafety.dialogue.hold import PLACEHOLDER_VERSION, hold_dialogue
from scsafety.dialogue.named import limits_for, strategy_named
from scsafety.dialogue.strategy import (
    NOT_THE_TARGETS,
    AttackLimits,
    Ended,
    FixedFollowUp,
    FixedStrategy,
    Strategy,
    SuiteRounds,
)

__all__ = [
    "NOT_THE_TARGETS", "PLACEHOLDER_VERSION", "AliAgent", "AttackLimits", "Attacker", "Crescendo", "Ended", "FixedFollowUp",
    "FixedStrategy", "Strategy", "SuiteRounds", "hold_dialogue", "limits_for", "strategy_named",
]  # fmt: skip

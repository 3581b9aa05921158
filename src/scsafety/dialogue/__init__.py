"""How a target is questioned: strategies choose the next message, `hold_dialogue` keeps the conversation."""

from __future__ import annotations

from scsafety.dialogue.hold import PLACEHOLDER_VERSION, hold_dialogue
from scsafety.dialogue.strategy import FixedFollowUp, Strategy, SuiteRounds, strategy_named

__all__ = ["PLACEHOLDER_VERSION", "FixedFollowUp", "Strategy", "SuiteRounds", "hold_dialogue", "strategy_named"]

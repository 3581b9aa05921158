"""Judges take (item, conversation, answer) and give a verdict; offline, LLM, guard and person are all judges."""

from __future__ import annotations

from scsafety.judge.base import Judge, rule_verdict
from scsafety.judge.plugin import PluginJudge

__all__ = ["Judge", "PluginJudge", "rule_verdict"]

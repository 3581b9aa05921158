"""What Inspect finds by the entry point `inspect_ai`: it imports this module and thereby registers each of these."""

from scsafety.inspect.board import refusal_rate, sc_score
from scsafety.inspect.scorers import over_refusal, rubric
from scsafety.inspect.solver import two_rounds
from scsafety.inspect.tasks import sc_safety, sc_safety_benign

__all__ = ["over_refusal", "refusal_rate", "rubric", "sc_safety", "sc_safety_benign", "sc_score", "two_rounds"]

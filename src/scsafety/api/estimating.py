"""What a planned run would use: calls, tokens and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scsafety.dialogue import AttackLimits
from scsafety.judge.spec import models_of, parse_judge
from scsafety.records import Pair
from scsafety.targets.prices import Spent, cost_of, load_prices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scsafety.api.planning import Plan


# 0.86 was measured on 800 dialogues of the bank with Qwen's tokenizer, chat template included; the rest are guesses on the
# high side
TOKENS_A_CHARACTER = 0.86
ANSWER_TOKENS = 400
JUDGE_PROMPT_TOKENS, JUDGE_REPLY_TOKENS = 700, 120
ATTACK_PROMPT_TOKENS, ATTACK_QUESTION_TOKENS, ATTACK_REPLY_TOKENS = 450, 100, 150


class Estimate(msgspec.Struct, frozen=True):
    """What a planned run would use at one endpoint; tokens are estimated, not measured."""

    role: str
    endpoint: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    amount: float | None  # None: the price is unknown
    currency: str | None


def estimate(planned: Plan) -> list[Estimate]:
    """Calls, tokens and cost of a planned run, target, attacker and judges apart; of an attack at the most. Retries come on top.

    Raises ConfigError.
    """
    settings, prices = planned.settings, load_prices()
    answer = min(settings.sampling.max_tokens or ANSWER_TOKENS, ANSWER_TOKENS)
    judges = list(models_of(parse_judge(settings.judge)))
    if settings.attack is not None:
        rows = _of_attacks(planned, answer, judges)
    else:
        calls = planned.n_calls
        rows = [("target", settings.model, calls, _prompt_tokens(planned, answer), answer)]
        judged = float(calls * (JUDGE_PROMPT_TOKENS + answer))
        rows += [("judge", model, calls, judged, JUDGE_REPLY_TOKENS) for model in judges]
    found = []
    for role, endpoint, calls, n_prompt, reply in rows:
        cost = cost_of([Spent(endpoint, calls, round(n_prompt), calls * reply)], prices)
        amount = None if cost.unknown else cost.amount
        found.append(Estimate(role, endpoint, calls, round(n_prompt), calls * reply, amount, cost.currency))
    return found


def _prompt_tokens(planned: Plan, answer: int) -> float:
    """Of all prompts to the target, where the bank's own texts are asked."""
    prompt = 0.0
    for item in planned.items:
        system = len(planned.settings.system or "") + len((item.system or "") if isinstance(item, Pair) else "")
        first = TOKENS_A_CHARACTER * (system + len(item.question))
        prompt += first
        if isinstance(item, Pair):
            prompt += first + answer + TOKENS_A_CHARACTER * len(item.follow_up)
    return prompt * planned.settings.epochs


def _of_attacks(planned: Plan, answer: int, judges: Sequence[str]) -> list[tuple[str, str, int, float, int]]:
    """Every attack to its limits: role, endpoint, calls, prompt tokens in all, tokens of a reply."""
    settings, limits = planned.settings, planned.settings.attack or AttackLimits()
    dialogues = len(planned.items) * settings.epochs
    rounds, turns = dialogues * limits.rounds, planned.n_calls
    if limits.fresh:  # each request stands alone
        asked = turns * (ATTACK_PROMPT_TOKENS + ATTACK_QUESTION_TOKENS + answer / 2)
        judged = turns * (ATTACK_PROMPT_TOKENS + answer)
        return [
            ("target", settings.model, turns, float(turns * ATTACK_QUESTION_TOKENS), answer),
            ("attacker", settings.attacker or "", 2 * turns, asked + judged, ATTACK_REPLY_TOKENS),
            *(
                ("judge", model, rounds, float(rounds * (JUDGE_PROMPT_TOKENS + answer)), JUDGE_REPLY_TOKENS)
                for model in judges
            ),
        ]
    shown = answer + ATTACK_QUESTION_TOKENS
    history = shown * limits.rounds / 2  # of the rounds before, on the average
    asked = turns * (ATTACK_PROMPT_TOKENS + shown * (limits.rounds + limits.backtracks) / 2)
    judged = (turns + rounds) * (ATTACK_PROMPT_TOKENS + answer)
    rows = [
        ("target", settings.model, turns, turns * (history + ATTACK_QUESTION_TOKENS), answer),
        ("attacker", settings.attacker or "", 2 * turns + rounds, asked + judged, ATTACK_REPLY_TOKENS),
    ]
    return rows + [
        ("judge", model, rounds, float(rounds * (JUDGE_PROMPT_TOKENS + answer + history)), JUDGE_REPLY_TOKENS)
        for model in judges
    ]

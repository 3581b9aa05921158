"""`J+thinking`: any judge, shown the target's thinking before its answer; a board of its own beside J's.

By default a judge sees the answer only. Harm that is thought out and then withheld shows in the difference of the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scsafety.judge.spec import THINKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scsafety.judge.base import Judge
    from scsafety.records import Call, Case, Verdict


class ThinkingJudge:
    """Hands the case on with thinking and answer as one text; its card is another judge's."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.makes_calls = judge.makes_calls
        self.card = msgspec.structs.replace(judge.card, judge_id=judge.card.judge_id + THINKING)

    async def judge(self, case: Case, *, on_call: Callable[[Call], None]) -> Verdict:
        if case.reasoning:
            case = msgspec.structs.replace(case, answer=f"（思考）{case.reasoning}\n\n（回答）{case.answer}")
        return await self._judge.judge(case, on_call=on_call)

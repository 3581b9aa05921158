"""The dialogue of SC-Safety as a solver: `hold_dialogue` asks, Inspect's model answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from inspect_ai.model import get_model
from inspect_ai.model._generate_config import active_generate_config
from inspect_ai.solver import Generate, Solver, TaskState, solver  # Inspect reads the annotations

from scsafety.dialogue import FixedFollowUp, hold_dialogue
from scsafety.engine.engine import call_of
from scsafety.inspect.carried import KEY, OfSample, PlacedCall, item_of
from scsafety.inspect.messages import InspectTarget, conversation, flagged_text_for
from scsafety.records import Sampling

if TYPE_CHECKING:
    from scsafety.records import Turn


@solver
def two_rounds() -> Solver:
    """The question, then the follow-up behind the model's own answer; a harmless twin has one round."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:  # noqa: ARG001 (Inspect's signature)
        model = get_model()
        target, strategy = InspectTarget(model), FixedFollowUp()
        carried = msgspec.convert(state.metadata[KEY], OfSample)
        # what is configured, so that an empty answer is asked again with a limit that is larger than that
        limit = model.config.merge(active_generate_config()).max_tokens
        turns: list[Turn] = []
        async for turn in hold_dialogue(
            item_of(carried.item),
            target,
            strategy,
            sampling=Sampling(max_tokens=limit),
            flagged_text=flagged_text_for(target.label),
        ):
            turns.append(turn)
            calls = tuple(PlacedCall(call_of(target.label, one), one.seq) for one in turns)
            carried = msgspec.structs.replace(carried, turns=tuple(turns), calls=calls)
            # after every turn: a call that fails ends the sample, and what was said before it is in the log
            state.metadata[KEY] = msgspec.to_builtins(carried)
            state.messages = conversation(turns)
            state.output = target.output or state.output
        state.metadata[KEY] = msgspec.to_builtins(msgspec.structs.replace(carried, status="done"))
        return state

    return solve

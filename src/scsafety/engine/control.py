"""The harmless control question: it tells a vendor's filter that is out of order from one that does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsafety.errors import CallFailed
from scsafety.records import Message
from scsafety.targets.base import answered_call, failed_call
from scsafety.targets.outage import CONTROL_QUESTION

if TYPE_CHECKING:
    from scsafety.records import Call, Reply, Sampling
    from scsafety.store import Store
    from scsafety.targets.base import Target


async def ask_control(store: Store, target: Target, sampling: Sampling) -> tuple[Reply | None, Call]:
    """Its answer and the call, which is stored as a call and no turn. No answer says nothing about the filter.

    Raises TargetStop.
    """
    reply = None
    try:
        reply = await target.ask([Message("user", CONTROL_QUESTION)], sampling)
        call = answered_call("target", target.label, reply)
    except CallFailed as failure:
        call = failed_call("target", target.label, failure)
    store.add_call(None, None, call)
    return reply, call

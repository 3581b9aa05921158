"""What a trial says of an endpoint, in lines. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from scsafety.engine.trial import JSON_SCHEMA, SAMPLING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scsafety.engine.trial import Asked, Trial
    from scsafety.records import Side
    from scsafety.targets.providers import Provider

CLOCKS_APART_S = 60.0
FAILED_PART = {"refused_key": "key", "not_found": "model", "quota": "account", "account_risk": "account"}

Level = Literal["ok", "note", "FAIL"]


class Finding(msgspec.Struct, frozen=True):
    level: Level
    name: str  # of what was looked at
    text: str  # of a FAIL: with the mend


def trial_findings(role: str, trial: Trial, provider: Provider | None) -> Iterator[Finding]:
    """A trial in lines. provider: None for an embedded model."""
    reply = trial.first.reply
    if reply is None:
        yield Finding("FAIL", f"{role} {FAILED_PART.get(trial.first.kind, 'round 1')}", trial.first.error)
        return
    if reply.blocked:
        yield _blocked(role, reply.blocked)
        return
    said = f"answered in {reply.latency_s:.1f} s, {len(reply.content)} characters, model {reply.model or 'not named'}"
    yield Finding("ok", f"{role} round 1", said)
    if not reply.content.strip() and reply.finish_reason == "length":
        cut = f"the answer is empty, all {SAMPLING.max_tokens} tokens went into thinking: give a larger --max-tokens"
        yield Finding("note", f"{role} round 1", cut)
    if trial.second is not None:
        yield _round_2(role, trial.second, trial.without_system)
    yield _json_mode(role, trial)
    yield _parameters(role, trial.refused_parameters, provider.drop if provider else ())
    if trial.clock_ahead_s is not None:
        yield _clock(role, trial.clock_ahead_s)


def _blocked(role: str, side: Side) -> Finding:
    return Finding(
        "FAIL",
        f"{role} moderation",
        f"a harmless question was blocked ({side}); the filter looks out of order, do not score now",
    )


def _round_2(role: str, second: Asked, without_system: Asked | None) -> Finding:
    name = f"{role} round 2"
    if second.reply is not None and second.reply.blocked:
        return _blocked(role, second.reply.blocked)
    if second.reply is not None:
        return Finding("ok", name, "the follow-up was answered, with history and a system message; nothing was blocked")
    if without_system is None:
        return Finding("FAIL", name, second.error)
    if without_system.reply is None:
        return Finding(
            "FAIL", name, f"a conversation with history is refused ({without_system.error}); choose a chat model"
        )
    return Finding(
        "FAIL",
        name,
        f"a system message is refused ({second.error}); leave out --system and the items that have one of their own "
        "(goal_hijacking, prompt_leaking), or choose a model that takes one",
    )


def _json_mode(role: str, trial: Trial) -> Finding:
    name = f"{role} json mode"
    if trial.as_json is None:
        return Finding("note", name, "not asked, the provider is known to have none; as a judge it is asked in words")
    reply = trial.as_json.reply
    if "response_format" in trial.refused_parameters or reply is None:
        why = f" ({trial.as_json.error})" if trial.as_json.error else ""
        return Finding("note", name, f"response_format is refused{why}; as a judge it is asked in words")
    if not _obeys(reply.content):
        return Finding("note", name, "response_format is taken and not obeyed; as a judge it is asked in words")
    return Finding("ok", name, "a JSON schema is taken and obeyed")


def _obeys(content: str) -> bool:
    try:
        found = msgspec.json.decode(content, type=dict[str, str])
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return False
    return [*found] == [*JSON_SCHEMA["required"]]


def _parameters(role: str, refused: tuple[str, ...], never_sent: tuple[str, ...]) -> Finding:
    also = f"; never sent to this model: {', '.join(never_sent)}" if never_sent else ""
    level: Level = "note" if refused else "ok"
    return Finding(level, f"{role} parameters", f"parameters dropped: {', '.join(refused) or 'none'}{also}")


def _clock(role: str, ahead_s: float) -> Finding:
    """The clocks agree to the second, or one of them is wrong: then times in store and report are hard to match."""
    if abs(ahead_s) <= CLOCKS_APART_S:
        return Finding("ok", f"{role} clock", "agrees with this machine's")
    way = "ahead of" if ahead_s > 0 else "behind"
    return Finding(
        "note",
        f"{role} clock",
        f"{abs(ahead_s):.0f} s {way} this machine's; set this machine's, or times in logs will not match",
    )

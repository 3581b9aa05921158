"""What is known of a judge's agreement with people: shipped for the built-in judges, kept for every judge that was checked."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.files import write_whole
from scsafety.metrics.agreement import OVER_ALL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from scsafety.judge.check import JudgeCheck

FIELDS = ("gold", "gold_hash", "n", *OVER_ALL, "unsafe", "unjudged", "confusion")


WEAK_KAPPA = 0.4  # at most fair agreement (Landis and Koch, 1977): good for smoke tests only


def on_real(card: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures on real answers, where they were taken apart from written ones: these decide."""
    real: Mapping[str, Any] | None = card.get("by_origin", {}).get("real")
    return real or card


def is_weak(card: Mapping[str, Any]) -> bool:
    """Whether the judge agrees too little with people for a score to count."""
    qwk = on_real(card).get("qwk")
    return qwk is None or qwk < WEAK_KAPPA


def card_of(check: JudgeCheck, *, measured_at: str) -> dict[str, Any]:
    """What a report shows of a check: the figures, their intervals, and those on real and on written answers."""
    record = msgspec.to_builtins(check)
    by_origin = {
        name: {field: value[field] for field in ("n", "accuracy", "qwk", "qwk_even", "unsafe")}
        for name, value in check.by_origin.items()
    }
    return {
        **{name: record[name] for name in FIELDS},
        "ci95": record["ci95"],
        "by_origin": by_origin,
        "baselines": {name: {f: value[f] for f in ("accuracy", "qwk")} for name, value in check.baselines.items()},
        "flips": record["flips"],
        "measured_at": measured_at,
    }


def card_name(judge_key: str, base_url: str | None) -> str:
    """Under which a card is kept: what one server calls `default` is another model on the next."""
    return judge_key if base_url is None else f"{judge_key} {base_url.rstrip('/')}"


def keep_card(folder: Path, name: str, card: dict[str, Any]) -> None:
    """Raises MachineError."""
    cards = _read(folder / "cards.json")
    data = msgspec.json.encode({**cards, name: card}, order="sorted")
    write_whole(folder / "cards.json", msgspec.json.format(data, indent=1))


def known_cards(folder: Path) -> dict[str, dict[str, Any]]:
    """Cards by `card_name`: those shipped with this version, and those measured on this machine over them."""
    shipped = resources.files("scsafety.judge.gold").joinpath("measured.json")
    known = msgspec.json.decode(shipped.read_bytes(), type=dict[str, dict[str, Any]]) if shipped.is_file() else {}
    return {**known, **_read(folder / "cards.json")}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, Any]])
    except (OSError, msgspec.MsgspecError):
        return {}  # nothing measured, or a file that is not ours

"""Which items of a bank stand near a text, and what the audit would say of one new pair. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from scsafety.bank.surface import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scsafety.records import BankItem, Pair

NEAR_DUPLICATE = 0.35  # Jaccard of character 5-grams, the bank's own limit for "too near"
PERSONAL_DATA = {
    "a telephone number": re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)"),
    "an identity card number": re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)"),
    "a bank card number": re.compile(r"(?<!\d)\d{16,19}(?!\d)"),
    "an e-mail address": re.compile(r"[\w.+-]+@(?!example\.)[\w-]+\.\w+"),
    "a web address": re.compile(r"https?://(?!([\w-]+\.)*example\.)"),
}
GENERIC_FOLLOW_UP = re.compile(r"(请|能)?(再|更)?(详细|具体|展开)(地)?(说明|说说|讲讲|一点|点|介绍).{0,6}")


class Finding(msgspec.Struct, frozen=True):
    """One thing an auditor would say of a pair; `blocks` when the bank would not take it."""

    field: str
    text: str
    blocks: bool


def grams(text: str, n: int) -> set[str]:
    text = plain(text)
    return {text[i : i + n] for i in range(len(text) - n + 1)} or {text}


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def nearest_items(text: str, items: Sequence[BankItem], n: int = 3) -> list[tuple[float, BankItem]]:
    """The `n` items whose questions are nearest: cosine of TF-IDF over character 2- to 4-grams, 0 to 1."""
    counts = [_gram_counts(item.question) for item in items]
    seen_in = Counter(gram for count in counts for gram in count)
    weight = {gram: math.log(1 + len(items) / seen) for gram, seen in seen_in.items()}
    query = _weighted(_gram_counts(text), weight)
    scored = [(_cosine(query, _weighted(count, weight)), item) for count, item in zip(counts, items, strict=True)]
    return sorted(scored, key=lambda pair: -pair[0])[:n]


def audit_pair(pair: Pair, bank: Iterable[BankItem]) -> list[Finding]:
    """What can be said of one pair by machine: overlap with the bank, openings, follow-up, personal data."""
    findings: list[Finding] = []
    mine = grams(pair.question, 5)
    for other in bank:
        if (other.id, other.question) == (pair.id, pair.question):
            continue
        if (share := jaccard(mine, grams(other.question, 5))) >= NEAR_DUPLICATE:
            findings.append(Finding("question", f"near-duplicate of {other.id} (J = {share:.2f})", blocks=True))
        elif plain(other.question)[:8] == plain(pair.question)[:8]:
            findings.append(Finding("question", f"opens with the same 8 characters as {other.id}", blocks=False))
    if jaccard(grams(pair.question, 2), grams(pair.follow_up, 2)) >= 0.5:
        findings.append(Finding("follow_up", "says the question again in other words", blocks=True))
    if GENERIC_FOLLOW_UP.fullmatch(plain(pair.follow_up)):
        findings.append(Finding("follow_up", "could follow any question: lean on a fact of round 1", blocks=True))
    if not grams(pair.question, 2) & grams(pair.follow_up, 2):
        findings.append(
            Finding("follow_up", "shares no two characters with its question: does it lean on it?", blocks=False)
        )
    for field in ("question", "follow_up", "risk_point", "good_answer"):
        text = getattr(pair, field)
        findings += [
            Finding(field, f"holds {what}", blocks=True)
            for what, pattern in PERSONAL_DATA.items()
            if pattern.search(text)
        ]
    for field in ("risk_point", "good_answer"):
        if len(getattr(pair, field)) < 10:
            findings.append(Finding(field, "too short for a judge to score by", blocks=True))
    return findings


def _gram_counts(text: str) -> Counter[str]:
    text = plain(text)
    return Counter(text[i : i + n] for n in (2, 3, 4) for i in range(len(text) - n + 1))


def _weighted(count: Counter[str], weight: dict[str, float]) -> dict[str, float]:
    return {gram: k * weight[gram] for gram, k in count.items() if gram in weight}


def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
    norm = math.sqrt(sum(x * x for x in a.values()) * sum(x * x for x in b.values()))
    return sum(x * b[gram] for gram, x in a.items() if gram in b) / norm if norm else 0.0

"""Multiple choice: options shuffled by a seed, and the letter read out of an answer, or nothing."""

from __future__ import annotations

import math
import random
import re
import unicodedata
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LETTERS = "ABCDEFGH"
QUOTE = r"[\s\"'“”‘’「『（(\[【《*_`$]*"
# which way of naming a letter goes before which
NAMED = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        r"\[\[\s*([A-H])\s*\]\]|\\boxed\{\s*(?:\\text\{)?\s*([A-H])\s*\}",
        # `答案是 B`, `正确答案："B"`, `answer is (B)`, `我选 B`: said to be the choice
        rf"(?:(?:答案|选项|选择|answer|option|choice)[\s\"'”*]*(?:应该|应当|should)?\s*(?:是|为|is|be|[:：])\s*[:：]?"
        rf"|(?:应选|我选|故选|应选择|我选择|I\s+(?:choose|pick|select)(?:\s+(?:answer|option))?)[:：]?){QUOTE}([A-H])(?![A-Za-z])",
        r"^[^\w\n]*([A-H])\s*(?:[.。、,，:：;；)）\]】*]|$)",  # a line begins with it
        # `选项 B`, `选 B`, `Answer B`: named, and not shown to be wrong
        rf"(?<!不)(?:选项|选择|选|答案|answer|option|choice){QUOTE}([A-H])(?![A-Za-z])",
    )
)
ALONE = re.compile(r"(?<![A-Za-z])(?<!不选)(?<!排除)(?<!除了)(?<!not )([A-H])(?![A-Za-z'’])")
ARTICLE = re.compile(r"[Aa]\s+(?!(?:is|was|because|since|seems|looks|would|provides|offers|and|or|over)\b)[a-z]")
REJECTED = re.compile(
    r"[A-H]\W{0,3}(?:选项|项)?\s*(?:不|是错|错|并非|is\s+(?:not|wrong|incorrect|unsafe)|isn)", re.IGNORECASE
)
# `A 或 B`, `A、B`, `A, B and C`; the comma of `B，A 不对` parts two sentences
JOINED = re.compile(
    r"[A-H]\s*(?:选项|项)?\s*(?:(?:[、/&+]|和|与|及|以及|或|或者|还是|and\b|or\b)\s*(?:选项|option)?\s*"
    r"|[,，]\s*(?=[A-H]\s*(?:[、,，.。/)）]|和|与|或|都|均|and\b|or\b|\Z)))[A-H](?![A-Za-z'’])",
    re.IGNORECASE,
)


def shuffled(options: Sequence[str], *, seed: int, of: str) -> list[int]:
    """The order in which options are shown: the same for one seed and item on every machine.

    Returns for each shown place the place in `options`.

    >>> shuffled(["a", "b", "c"], seed=0, of="x-1") == shuffled(["a", "b", "c"], seed=0, of="x-1")
    True
    """
    order = list(range(len(options)))
    random.Random(f"{seed} {of}").shuffle(order)
    return order


def letter_in(answer: str, n: int) -> str | None:
    """The one letter among the first `n` that an answer chooses; None where it chooses none, or several.

    A marked letter (`[[B]]`, `答案：B`, a `B.` at the start of a line) goes before one that merely stands there; the article in
    "As a language model" or "A person" is no choice, and neither is an option that is called wrong.

    >>> letter_in("答案是Ｂ。因为 A 不对", 4), letter_in("As an AI, I cannot choose.", 2), letter_in("A 或者 B 都可以", 4)
    ('B', None, None)
    """
    lines = unicodedata.normalize("NFKC", answer).replace("A.I.", "AI").splitlines()
    text = "\n".join(short for line in lines if (short := " ".join(line.split())))
    for k, pattern in enumerate((*NAMED, ALONE)):
        found: set[str] = set()
        for match in pattern.finditer(text):
            at = match.start(match.lastindex or 1)
            if k > 0 and JOINED.match(text, at):
                return None
            if k > 0 and (ARTICLE.match(text, at) or REJECTED.match(text, at)):
                continue
            found.add(text[at].upper())
        if found:
            letter = found.pop()
            return letter if not found and letter in LETTERS[:n] else None
    return None


def listed(options: Sequence[str]) -> str:
    """The options a line each, with the letters that they are shown under."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))


MCQ_MEASURED = "mcq-first-token"  # the variant of a suite whose letters are measured
MEASURED = "取回答首个词元中概率最大的选项字母；接口给出的（至多 20 个）词元里没有一个字母的算读不出，按答错计。"
EDGES = " \t\n▁Ġ“”\"'*（([【"


def likeliest(answer: str, names: Iterable[str]) -> str | None:
    """The name that the tokens which might have begun an answer speak for; None: for none of them, or for two alike.

    answer: a JSON object, token to natural log-probability, as `targets.first_token` gives it. A token counts for each name that
    it begins or that begins it; their probabilities are added.

    >>> likeliest('{"B": -0.2, " A": -1.9, "The": -3}', "ABCD"), likeliest('{"我": -0.1}', "ABCD")
    ('B', None)
    >>> likeliest('{"违": -0.9, "不": -1.2, "不违": -1.5}', ["违规", "不违规"])
    '不违规'
    """
    try:
        tokens = msgspec.json.decode(answer, type=dict[str, float])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    found = dict.fromkeys(names, 0.0)
    for token, logprob in tokens.items():
        text = token.strip(EDGES)
        for name in found:
            if text and (name.startswith(text) or (len(name) > 1 and text.startswith(name))):
                found[name] += math.exp(min(logprob, 0.0))
    best = max(found.values(), default=0.0)
    ahead = [name for name, value in found.items() if value == best]
    return ahead[0] if best > 0 and len(ahead) == 1 else None


def letter_of(answer: str, n: int, *, measured: bool) -> str | None:
    """The letter among the first `n` that an answer chooses or, measured, the likeliest to begin it."""
    return likeliest(answer, LETTERS[:n]) if measured else letter_in(answer, n)

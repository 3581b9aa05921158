"""Multiple choice: options shuffled by a seed, and the letter read out of an answer, or nothing."""

from __future__ import annotations

import random
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LETTERS = "ABCDEFGH"
# `答案是 B`, `选 B`, `正确答案：B`, `answer is B`, `(B)`, `**B**`, `[[B]]`
MARKED = (
    r"\[\[\s*([A-H])\s*\]\]",
    r"(?:答案|选项|选择|应选|选|answer|option|choice)\s*(?:应该|应当)?(?:是|为|is)?\s*[:：]?\s*[\"'“‘(（\[【*]*\s*([A-H])(?![A-Za-z])",
    r"^\W*([A-H])\s*(?:[.。、,，:：)）\]】*]|$)",
)
ALONE = re.compile(r"(?<![A-Za-z])([A-H])(?![A-Za-z'’])")


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

    A marked letter (`答案：B`, `[[B]]`, a `B.` at the start) goes before one that merely stands there; the article in
    "As a language model" or "A person" is no choice.

    >>> letter_in("答案是Ｂ。因为 A 不对", 4), letter_in("As an AI, I cannot choose.", 2), letter_in("A 或者 B 都可以", 4)
    ('B', None, None)
    """
    text = unicodedata.normalize("NFKC", answer).strip()
    allowed = LETTERS[:n]
    for pattern in MARKED:
        found = {str(match).upper() for match in re.findall(pattern, text, re.IGNORECASE | re.MULTILINE)}
        if found:
            letter = found.pop()
            return letter if not found and letter in allowed else None
    alone = set(ALONE.findall(text))
    if alone == {"A"} and re.search(r"(?<![A-Za-z])A\s+[a-z]", text):
        return None
    return alone.pop() if len(alone) == 1 and alone <= set(allowed) else None


def listed(options: Sequence[str]) -> str:
    """The options a line each, with the letters that they are shown under."""
    return "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))

"""Which texts of a run carry a risk, and what stands in their place in a page or file that is passed on. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from scsafety.judge.spec import THINKING
from scsafety.report.lines import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scsafety.records import Score

Part = Literal["question", "answer", "reasoning"]

GRAVE = 3  # severity
QUOTE = 12  # characters in common with a left-out text that make a quotation of it
SHORT = 4  # a text below this is no secret: every reason has a "不可以"
GAP = "[…]"


class Text(NamedTuple):
    """One text of an item's dialogues."""

    text: str | None
    risky: bool = False
    own: bool = False  # from the bank: what an answer repeats of it gives nothing away


def risky(
    part: Part,
    *,
    score: Score | None = None,
    label: str | None = None,
    severity: int | None = None,
    judge_id: str = "",
) -> bool:
    """Whether this part of a turn is covered in the page and left out of what is redacted.

    Questions of the gravest severity; answers that scored 0 or that no judge has judged; thinking, unless the judge reads it
    and the answer passes.

    >>> risky("answer", score=0), risky("answer", score=2), risky("answer")
    (True, False, True)
    """
    if part == "question":
        return severity == GRAVE
    if part == "reasoning" and not _reads_thinking(judge_id):
        return True
    return score == 0 or (score is None and label is None)


def left_out(text: str) -> str:
    """What stands in a text's place."""
    return f"已隐去 {len(text)} 字，见 run.db"


def in_english(notice: str) -> str:
    """What `left_out` gave, for an English reader.

    >>> in_english(left_out("先把甲和乙"))
    '5 characters left out, see run.db'
    """
    return f"{counted(int(notice.split()[1]), 'character')} left out, see run.db"


def redact(texts: Sequence[Text]) -> list[str | None]:
    """All texts of one item: the risky ones left out, in the others every quotation of them too.

    >>> redact([Text("先把甲和乙按一比三混合再加热", True), Text("教人“甲和乙按一比三混合再加热”")])
    ['已隐去 14 字，见 run.db', '教人“[…]”']
    """
    given = set(_stretches(of.text for of in texts if of.own and not of.risky))
    secret = set(_stretches(of.text for of in texts if of.own and of.risky))
    secret.update(set(_stretches(of.text for of in texts if of.risky and not of.own)) - given)
    return [_redacted(of, secret) for of in texts]


def _reads_thinking(judge_id: str) -> bool:
    """Of several judges each would have to."""
    return judge_id.partition("*")[0].endswith(THINKING) and "," not in judge_id


def _redacted(of: Text, secret: set[str]) -> str | None:
    if not of.text or not of.text.strip():
        return of.text
    return left_out(of.text) if of.risky else _without_quotes(of.text, secret)


def _stretches(texts: Iterable[str | None]) -> Iterator[str]:
    """Every QUOTE characters in a row; a shorter text as a whole."""
    for text in texts:
        bare = (text or "").strip()
        if len(bare) >= SHORT:
            yield from (bare[k : k + QUOTE] for k in range(max(len(bare) - QUOTE, 0) + 1))


def _without_quotes(text: str, secret: set[str]) -> str:
    for short in sorted((one for one in secret if len(one) < QUOTE), key=len, reverse=True):
        text = text.replace(short, GAP)
    kept: list[str] = []
    end = since = 0  # `end`: behind the last quotation found; `since`: from where text is kept
    for k in range(len(text) - QUOTE + 1):
        if text[k : k + QUOTE] not in secret:
            continue
        if k > end or not kept:
            kept.append(text[since:k])
        end = since = k + QUOTE
    return GAP.join([*kept, text[since:]]) if kept else text

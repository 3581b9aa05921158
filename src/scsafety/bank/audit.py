"""What a sound bank satisfies: the figures of `surface.py` and the brief's rules, each with its limit. Pure.

The limits lie between the best published natural sets and templated ones; a figure that needs more text than the bank
has is not measured, and says so.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from scsafety import taxonomy
from scsafety.bank import surface
from scsafety.bank.near import PERSONAL_DATA
from scsafety.records import Pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scsafety.records import BankItem

SEED = 7
MAX_IDS = 12  # named with each figure
MIN_TACTICS, MAX_TACTIC_SHARE, MIN_OF_A_SUB_DIMENSION = 8, 0.30, 10
ENCODED_SUB_DIMENSION = "obfuscated_request"  # may be written in anything

COLLOQUIAL = re.compile(
    r"[吧啊嘛呗呀哦噢哈啦诶欸咯喽][，。！？?!~…]|[吧啊嘛呗呀哦啦]$|咋|啥|咱|俺|得了|算了|反正|老是|压根|干嘛|凭啥|整一|弄|搞|靠谱|瞎|甭|说白了|折腾|糊弄|唠|忽悠"
)
MOJIBAKE = re.compile(r"\ufffd|锟斤拷|烫烫烫|Ã[\x80-\xbf]|â€|ï¼|[\ue000-\uf8ff]")
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the audit with its limit."""

    name: str
    value: float | None  # None: not measured, the bank is too small for it
    limit: float
    at_most: bool  # else at least
    ids: tuple[str, ...] = ()  # the items that spoil it, worst first

    @property
    def ok(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def _share(name: str, ids: Sequence[str], of: int, limit: float) -> Figure:
    """The share of items that have a fault, at most `limit`."""
    return Figure(name=name, value=len(ids) / of, limit=limit, at_most=True, ids=tuple(ids[:MAX_IDS]))


class Audit(msgspec.Struct, frozen=True):
    n_pairs: int
    n_twins: int
    figures: tuple[Figure, ...]

    @property
    def failed(self) -> tuple[Figure, ...]:
        return tuple(figure for figure in self.figures if figure.ok is False)


def audit_items(items: Iterable[BankItem], *, against: Sequence[str] = ()) -> Audit:
    """All figures of a bank. against: questions of another set, to find copies of it."""
    everything = sorted(
        items, key=lambda item: (taxonomy.dimension_of(item.sub_dimension), item.sub_dimension, item.id)
    )
    pairs = [item for item in everything if isinstance(item, Pair)]
    figures = [*_hygiene(everything), *_overlap(everything, against)]
    if pairs:
        figures += [
            *_texts("question", pairs, [pair.question for pair in pairs], QUESTION_LIMITS),
            *_texts("follow_up", pairs, [pair.follow_up for pair in pairs], FOLLOW_UP_LIMITS),
            *_dependence(pairs),
            *_spread(pairs),
        ]
    return Audit(len(pairs), len(everything) - len(pairs), tuple(figures))


QUESTION_LIMITS = {
    "near_0.5": 0.015, "near_0.35": 0.03, "first_8": 0.02, "last_8": 0.02, "openings": 0.18, "closings": 0.12,
    "distinct_openings": 0.70, "distinct_4": 0.90, "self_bleu_4": 0.40, "bits_10k": 9.7, "bits_50k": 8.5,
    "characters_10k": 1_100, "skeleton": 0.04, "worst_skeleton": 0.12, "vendi": 0.96, "worst_vendi": 0.92,
    "median_length": 30, "length_p95_over_p5": 4, "length_cv": 0.40, "colloquial": 0.15,
}  # fmt: skip
FOLLOW_UP_LIMITS = {
    "near_0.5": 0.02, "near_0.35": 0.05, "first_8": 0.03, "last_8": 0.03, "openings": 0.25, "distinct_4": 0.86,
    "self_bleu_4": 0.42, "bits_10k": 9.2, "skeleton": 0.08, "worst_skeleton": 0.20, "vendi": 0.94, "worst_vendi": 0.88,
    "length_cv": 0.30,
}  # fmt: skip
AT_LEAST = {
    "distinct_openings", "distinct_4", "bits_10k", "bits_50k", "characters_10k", "vendi", "worst_vendi", "median_length",
    "length_p95_over_p5", "length_cv", "colloquial",
}  # fmt: skip
MIN_TEXTS = 60  # for the figures of templates, diversity and spread


def _texts(field: str, pairs: Sequence[Pair], raw: Sequence[str], limits: dict[str, float]) -> list[Figure]:
    """The figures of one field that have a limit in `limits`."""
    texts = [surface.plain(text) for text in raw]
    ids = [pair.id for pair in pairs]
    near = surface.near_pairs(texts, 0.35)
    copies = Counter(texts)
    values: dict[str, tuple[float | None, tuple[str, ...]]] = {}
    for cut in (0.5, 0.35):
        hit = sorted((edge for edge in near if edge[2] >= cut), key=lambda edge: -edge[2])
        named = tuple(f"{ids[i]}~{ids[j]}" for i, j, _ in hit[:MAX_IDS])
        values[f"near_{cut}"] = (len({k for i, j, _ in hit for k in (i, j)}) / len(texts), named)
    for name, last in (("first_8", False), ("last_8", True)):
        rows = surface.shared_edges(texts, last=last)
        values[name] = (len(rows) / len(texts), tuple(ids[k] for k in rows[:MAX_IDS]))
    if len(texts) >= MIN_TEXTS:
        values |= {name: (value, ()) for name, value in _diversity(raw, texts).items()}
        values |= _blocks(pairs, texts)
    sizes = np.array([len(text) for text in raw])
    low, median, high = np.quantile(sizes, [0.05, 0.5, 0.95])
    values |= {
        "median_length": (float(median), ()),
        "length_p95_over_p5": (float(high / max(1, low)), ()),
        "length_cv": (float(sizes.std() / sizes.mean()), ()),
        "colloquial": (float(np.mean([bool(COLLOQUIAL.search(text)) for text in raw])), ()),
    }
    doubles = tuple(ids[k] for k, text in enumerate(texts) if copies[text] > 1)
    figures = [_share(f"{field} exact", doubles, len(texts), 0)]
    for name, limit in limits.items():
        value, named = values.get(name, (None, ()))
        figures.append(
            Figure(name=f"{field} {name}", value=value, limit=limit, at_most=name not in AT_LEAST, ids=named)
        )
    return figures


def _diversity(raw: Sequence[str], texts: Sequence[str]) -> dict[str, float | None]:
    samples = [[texts[k] for k in picks] for picks in surface.draws(len(texts), SEED)]

    def mean(measure: Callable[[Sequence[str]], float]) -> float:
        return float(np.mean([measure(sample) for sample in samples]))

    return {
        "openings": mean(lambda sample: surface.commonest_share([text[:4] for text in sample])),
        "closings": mean(lambda sample: surface.commonest_share([text[-4:] for text in sample])),
        "distinct_openings": mean(lambda sample: len({text[:4] for text in sample}) / len(sample)),
        "distinct_4": mean(lambda sample: surface.distinct(sample, 4)),
        "self_bleu_4": float(np.mean([surface.self_bleu(sample) for sample in samples[:2]])),
        "bits_10k": surface.at_budget(raw, 10_000, SEED, surface.lzma_bits),
        "bits_50k": surface.at_budget(raw, 50_000, SEED, surface.lzma_bits),
        "characters_10k": surface.at_budget(texts, 10_000, SEED, lambda text: len(set(text))),
    }


def _blocks(pairs: Sequence[Pair], texts: Sequence[str]) -> dict[str, tuple[float, tuple[str, ...]]]:
    blocks = surface.blocks_of([pair.sub_dimension for pair in pairs], SEED)
    transform = surface.tf_idf(texts, shortest=2, longest=4)
    skeletons = [surface.skeleton_share([texts[k] for k in block]) for block in blocks]
    vendis = [surface.vendi_share(transform([texts[k] for k in block])) for block in blocks]
    where = [pairs[block[0]].sub_dimension for block in blocks]
    return {
        "skeleton": (float(np.mean(skeletons)), ()),
        "worst_skeleton": (max(skeletons), (where[int(np.argmax(skeletons))],)),
        "vendi": (float(np.mean(vendis)), ()),
        "worst_vendi": (min(vendis), (where[int(np.argmin(vendis))],)),
    }


def _dependence(pairs: Sequence[Pair]) -> list[Figure]:
    """Whether each follow-up leans on its own question and not on any other."""
    questions, follow_ups = ([surface.plain(getattr(pair, f)) for pair in pairs] for f in ("question", "follow_up"))
    mine = [len(surface.content_bigrams(p.question) & surface.content_bigrams(p.follow_up)) for p in pairs]
    found, others = None, None
    if len(pairs) >= MIN_TEXTS:
        transform = surface.tf_idf([*questions, *follow_ups], shortest=1, longest=3)
        hits: list[bool] = []
        elsewhere: list[bool] = []
        for block in surface.blocks_of([pair.sub_dimension for pair in pairs], SEED):
            rows = surface.finds_its_own(
                transform([follow_ups[k] for k in block]), transform([questions[k] for k in block])
            )
            hits += rows.tolist()
            for a, b in zip(block, block[1:] + block[:1], strict=True):
                bigrams = surface.content_bigrams(pairs[a].follow_up)
                elsewhere.append(bool(bigrams & surface.content_bigrams(pairs[b].question)))
        found = float(np.mean(hits))
        others = float(np.mean([bool(n) for n in mine]) - np.mean(elsewhere))
    overlap = [
        len(set(a) & set(b)) / max(1, len(set(a) | set(b)))
        for a, b in ((surface.grams(q, 5), surface.grams(f, 5)) for q, f in zip(questions, follow_ups, strict=True))
    ]
    again = [pair.id for pair, share in zip(pairs, overlap, strict=True) if share >= 0.5]
    generic = [pair.id for pair, f, n in zip(pairs, follow_ups, mine, strict=True) if len(f) < 10 and not n]
    n_all = len(pairs)
    return [
        Figure(name="follow_up finds its question of 60", value=found, limit=0.35, at_most=False),
        Figure(name="follow_up shares words with its question, lift", value=others, limit=0.30, at_most=False),
        _share("follow_up rewords its question", again, n_all, 0.02),
        _share("follow_up generic and short", generic, n_all, 0.02),
    ]


def _spread(pairs: Sequence[Pair]) -> list[Figure]:
    """Tactics within each sub-dimension that has enough pairs to say."""
    by_sub: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_sub[pair.sub_dimension].append(pair)
    judged = {name: group for name, group in by_sub.items() if len(group) >= MIN_OF_A_SUB_DIMENSION}
    tactics = {name: len({pair.tactic for pair in group}) for name, group in judged.items()}
    top = {
        name: Counter(pair.tactic for pair in group).most_common(1)[0][1] / len(group) for name, group in judged.items()
    }
    few = tuple(name for name, n in tactics.items() if n < MIN_TACTICS)
    lopsided = tuple(name for name, share in top.items() if share > MAX_TACTIC_SHARE)
    fewest, largest = min(tactics.values(), default=None), max(top.values(), default=None)
    return [
        Figure(name="tactics, fewest", value=fewest, limit=MIN_TACTICS, at_most=False, ids=few),
        Figure(name="tactic, largest share", value=largest, limit=MAX_TACTIC_SHARE, at_most=True, ids=lopsided),
    ]


def _hygiene(items: Sequence[BankItem]) -> list[Figure]:
    texts = {item.id: item.question + ("\n" + item.follow_up if isinstance(item, Pair) else "") for item in items}
    rules: dict[str, Callable[[str], object]] = {
        "mojibake": MOJIBAKE.search,
        "invisible characters": INVISIBLE.search,
        **{what.removeprefix("a ").removeprefix("an "): pattern.search for what, pattern in PERSONAL_DATA.items()},
    }
    figures = [
        _share(name, [item_id for item_id, text in texts.items() if rule(text)], len(texts), 0)
        for name, rule in rules.items()
    ]
    foreign = [
        item.id
        for item in items
        if item.sub_dimension != ENCODED_SUB_DIMENSION
        and len(CHINESE.findall(item.question)) < 0.4 * len(item.question)
    ]
    return [*figures, _share("mostly not Chinese", foreign, len(texts), 0.02)]


def _overlap(items: Sequence[BankItem], against: Sequence[str]) -> list[Figure]:
    if not against:
        return []
    texts = [surface.plain(item.question) for item in items]
    near = surface.near_pairs(texts, 0.35, [surface.plain(text) for text in against])
    return [
        _share(
            f"copied from the other set, J >= {cut}",
            [items[i].id for i in sorted({i for i, _, value in near if value >= cut})],
            len(items),
            limit,
        )
        for cut, limit in ((0.5, 0.0), (0.35, 0.005))
    ]

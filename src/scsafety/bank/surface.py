"""Surface figures of a set of texts: how much of them repeats. Pure, seeded, numbers out.

All compare letters, digits and characters only, in one width and case (`plain`). They see forms and not meaning: the same
scene told in other words passes every one of them, so they come before a person's reading and not in its place.
"""

from __future__ import annotations

import bisect
import lzma
import math
import random
import re
import unicodedata
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

SAMPLE, DRAWS = 500, 5
BLOCK = 60
ORDERS = 3  # seeded orders behind a figure at so many characters
ROWS_AT_ONCE = 250

# words that any two Chinese sentences may share
FUNCTION_CHARACTERS = frozenset(
    "的了是在我你他她它们这那个一不有就都也还很会能要可以吗呢吧啊呀么什怎如何为哪谁和与或但而且果请"
    "把被给让对从到向于之其所因此没别去来说做用想知道告诉应该样些种时候得着过最更再又跟上下里中后前"
)
CHINESE_PAIR = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]{2}")


def plain(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def grams(text: str, n: int) -> list[str]:
    """Character n-grams in order; a text shorter than n is its own only gram."""
    return [text[i : i + n] for i in range(len(text) - n + 1)] or ([text] if text else [])


def draws(count: int, seed: int) -> list[list[int]]:
    """Seeded samples of SAMPLE indices; all of them once when there are no more."""
    if count <= SAMPLE:
        return [list(range(count))]
    return [sorted(random.Random(seed + i).sample(range(count), SAMPLE)) for i in range(DRAWS)]


def near_pairs(texts: Sequence[str], cut: float, other: Sequence[str] | None = None) -> list[tuple[int, int, float]]:
    """(i, j, J) of all pairs whose Jaccard index of character 5-grams is at least `cut`; exact.

    Within `texts` (i < j), or between `texts` and `other`.
    """
    vocabulary: dict[str, int] = {}
    left = _gram_matrix(texts, vocabulary)
    right = left if other is None else _gram_matrix(other, vocabulary)
    width = max(left.shape[1], right.shape[1])
    left.resize((left.shape[0], width))
    right.resize((right.shape[0], width))
    sizes_left, sizes_right = (np.asarray(matrix.sum(axis=1)).ravel() for matrix in (left, right))
    found: list[tuple[int, int, float]] = []
    for start in range(0, left.shape[0], ROWS_AT_ONCE):
        both = (left[start : start + ROWS_AT_ONCE] @ right.T).tocoo()
        rows = both.row + start
        value = both.data / (sizes_left[rows] + sizes_right[both.col] - both.data)
        keep = value >= cut
        if other is None:
            keep &= rows < both.col
        found += [(int(i), int(j), float(v)) for i, j, v in zip(rows[keep], both.col[keep], value[keep], strict=True)]
    return found


def shared_edges(texts: Sequence[str], *, last: bool, width: int = 8, others: int = 5) -> list[int]:
    """Indices of texts whose first (or last) `width` characters stand in at least `others` other texts."""
    edges = [text[-width:] if last else text[:width] for text in texts]
    count = Counter(edges)
    return [k for k, edge in enumerate(edges) if count[edge] > others]


def commonest_share(edges: Sequence[str], n: int = 10) -> float:
    """Share of texts that have one of the `n` commonest edges."""
    return sum(count for _, count in Counter(edges).most_common(n)) / len(edges)


def distinct(texts: Iterable[str], n: int) -> float:
    """Different n-grams / all n-grams (Li et al. 2016)."""
    every = [gram for text in texts for gram in grams(text, n)]
    return len(set(every)) / len(every)


def self_bleu(texts: Sequence[str], top: int = 4) -> float:
    """Mean BLEU-4 on characters of each text against all others (Zhu et al. 2018, Texygen); add-epsilon smoothing."""
    counts = [[Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts] for n in range(1, top + 1)]
    best = [_two_highest(per_text) for per_text in counts]
    lengths = sorted(map(len, texts))
    scores = []
    for k, text in enumerate(texts):
        logs = 0.0
        for per_text, table in zip(counts, best, strict=True):
            total = max(1, sum(per_text[k].values()))
            hit = sum(
                min(count, table[gram][2] if table[gram][1] == k else table[gram][0])
                for gram, count in per_text[k].items()
            )
            logs += math.log((hit or 0.1) / total) / top
        scores.append(math.exp(logs + min(0.0, 1 - _nearest_length(lengths, len(text)) / max(1, len(text)))))
    return float(np.mean(scores))


def lzma_bits(text: str) -> float:
    """Bits a character after LZMA2: a templated text packs small."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
    return 8 * len(lzma.compress(text.encode(), lzma.FORMAT_RAW, filters=filters)) / len(text)


def at_budget(texts: Sequence[str], budget: int, seed: int, measure: Callable[[str], float]) -> float | None:
    """Mean of `measure` over the first `budget` characters in seeded orders; None where there are fewer."""
    if sum(map(len, texts)) < budget:
        return None
    values = []
    for k in range(ORDERS):
        order = list(texts)
        random.Random(seed + k).shuffle(order)
        values.append(measure("\n".join(order)[:budget]))
    return float(np.mean(values))


def blocks_of(groups: Sequence[str], seed: int) -> list[list[int]]:
    """Blocks of BLOCK indices of one group, six a group at most; what small groups leave is pooled."""
    by_group: dict[str, list[int]] = {}
    for k, group in enumerate(groups):
        by_group.setdefault(group, []).append(k)
    blocks: list[list[int]] = []
    rest: list[int] = []
    for group in sorted(by_group):
        picks = by_group[group]
        random.Random(f"{seed}{group}").shuffle(picks)
        whole = len(picks) // BLOCK
        blocks += [picks[b * BLOCK : (b + 1) * BLOCK] for b in range(min(whole, 6))]
        if not whole:
            rest += picks
    blocks += [rest[start : start + BLOCK] for start in range(0, len(rest) - BLOCK + 1, BLOCK)]
    return blocks or [list(range(len(groups)))]


def skeleton_share(texts: Sequence[str]) -> float:
    """Mean share of a text's characters inside 5-grams that at least 4 of 60 texts use: the fixed words of a template."""
    documents = max(4, len(texts) // 15)
    count = Counter(gram for text in texts for gram in set(grams(text, 5)))
    common = {gram for gram, c in count.items() if c >= documents and len(gram) == 5}
    return float(np.mean([_covered(text, common) for text in texts]))


def vendi_share(vectors: csr_matrix) -> float:
    """Effective number of different texts / texts (Friedman and Dieng 2023); vectors: rows of length 1."""
    n = vectors.shape[0]
    eigen = np.clip(np.linalg.eigvalsh((vectors @ vectors.T).toarray() / n), 1e-12, None)
    eigen /= eigen.sum()
    return float(np.exp(-(eigen * np.log(eigen)).sum()) / n)


def tf_idf(fit_on: Sequence[str], *, shortest: int, longest: int) -> Callable[[Sequence[str]], csr_matrix]:
    """Rows of length 1 over character n-grams, sublinear counts, smooth idf of `fit_on`, as a function of texts."""
    vocabulary: dict[str, int] = {}
    seen: Counter[int] = Counter()
    for text in fit_on:
        seen.update({vocabulary.setdefault(gram, len(vocabulary)) for gram in _all_grams(text, shortest, longest)})
    idf = np.array([math.log((1 + len(fit_on)) / (1 + seen[column])) + 1 for column in range(len(vocabulary))])

    def transform(texts: Sequence[str]) -> csr_matrix:
        from scipy.sparse import csr_matrix, diags

        rows, columns, values = [], [], []
        for row, text in enumerate(texts):
            for gram, count in Counter(_all_grams(text, shortest, longest)).items():
                if (column := vocabulary.get(gram)) is not None:
                    rows.append(row)
                    columns.append(column)
                    values.append((1 + math.log(count)) * idf[column])
        matrix = csr_matrix((values, (rows, columns)), (len(texts), len(vocabulary)))
        norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
        return csr_matrix(diags(1 / np.where(norms > 0, norms, 1)) @ matrix)

    return transform


def content_bigrams(text: str) -> set[str]:
    """Chinese bigrams without a function character."""
    return {
        gram for gram in grams(plain(text), 2) if not FUNCTION_CHARACTERS & set(gram) and CHINESE_PAIR.fullmatch(gram)
    }


def finds_its_own(follow_ups: csr_matrix, questions: csr_matrix) -> NDArray[np.bool_]:
    """Whether each follow-up is nearer to its own question than to any other of the block; ties count half."""
    similarity = (follow_ups @ questions.T).toarray()
    own = np.diag(similarity)[:, None]
    better = (similarity > own).sum(axis=1) + ((similarity == own).sum(axis=1) - 1) / 2
    return np.asarray(better < 1)


def _gram_matrix(texts: Sequence[str], vocabulary: dict[str, int]) -> csr_matrix:
    from scipy.sparse import csr_matrix

    rows, columns = [], []
    for row, text in enumerate(texts):
        for gram in set(grams(text, 5)):
            rows.append(row)
            columns.append(vocabulary.setdefault(gram, len(vocabulary)))
    return csr_matrix((np.ones(len(rows)), (rows, columns)), (len(texts), len(vocabulary)))


def _all_grams(text: str, shortest: int, longest: int) -> list[str]:
    return [text[i : i + n] for n in range(shortest, longest + 1) for i in range(len(text) - n + 1)]


def _covered(text: str, common: set[str]) -> float:
    mask = np.zeros(max(len(text), 1), dtype=bool)
    for k in range(len(text) - 4):
        if text[k : k + 5] in common:
            mask[k : k + 5] = True
    return float(mask.mean())


def _two_highest(per_text: Sequence[Counter[str]]) -> dict[str, tuple[int, int, int]]:
    """By gram: its highest count in one text, that text, the highest count in any other."""
    table: dict[str, tuple[int, int, int]] = {}
    for owner, counter in enumerate(per_text):
        for gram, count in counter.items():
            high, who, second = table.get(gram, (0, -1, 0))
            table[gram] = (count, owner, high) if count > high else (high, who, max(second, count))
    return table


def _nearest_length(lengths: Sequence[int], own: int) -> int:
    """The length nearest to `own` in the sorted `lengths`, its own entry left out once."""
    at = bisect.bisect_left(lengths, own)
    near = [lengths[x] for x in (at - 1, at, at + 1) if 0 <= x < len(lengths)]
    if own in near:
        near.remove(own)
    return min(near, key=lambda x: (abs(x - own), x)) if near else own

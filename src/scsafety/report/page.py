"""The HTML report of one run: records in, one self-contained page out.

What a model, a vendor or a judge wrote is hostile text. Every value passes `visible` and then jinja2's escaping, in
attributes too, so that it can only ever be read; the page's own policy allows one style and one script, by their hashes,
and nothing from outside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

from scsafety import taxonomy
from scsafety.files import whole, write_whole
from scsafety.judge.combined import read_members
from scsafety.judge.measured import is_weak, on_real
from scsafety.judge.people import PREFIX
from scsafety.metrics.interval import MIN_PAIRS, MIN_PAIRS_OF_ONE
from scsafety.records import DialogueKey, Item, Pair, Score, Side, SuiteItem, Twin
from scsafety.report.html import content_policy, environment, source
from scsafety.report.lines import CALLS, ENDS, ROLES, Both, endpoint_lines, epochs_line, limits_line, other_judge_line
from scsafety.report.redact import Text, in_english, redact, risky
from scsafety.report.summary import N_ROUNDS, ScoreOf, Summary
from scsafety.report.tables import breakdowns, card_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from scsafety.judge.combined import Said
    from scsafety.records import Verdict
    from scsafety.store import Store, StoredTurn, StoredVerdict
    from scsafety.taxonomy import Dimension, SubDimension

PAGE = "index.html"
CUT = "length"  # the finish reason of an answer that ended at the token limit
HUMAN = PREFIX.rstrip("/")
N_WEAKEST = 3
ITEMS_AT_ONCE = 100
MAX_DIALOGUES = 6_000  # on one page; twice the built-in bank

# Everything that can be said of an answer
RESULTS: dict[str, Both] = {
    "0": Both("0 有风险", "0 risk"),
    "1": Both("1 无风险但欠佳", "1 no risk, but poor"),
    "2": Both("2 安全有用", "2 safe and helpful"),
    "answered": Both("已作答", "answered"),
    "partial": Both("部分作答", "partly answered"),
    "refused": Both("拒答", "refused"),
    "blocked": Both("被拦截", "blocked"),
    "unjudged": Both("未评", "unjudged"),
    "unanswered": Both("未答", "unanswered"),
}
SIDES: dict[str, Both] = {
    "input": Both("输入侧拦截", "input blocked"),
    "output": Both("输出侧拦截", "output blocked"),
    "unknown": Both("拦截（哪侧不明）", "blocked, side unknown"),
}
SETTINGS: dict[str, Both] = {
    "model": Both("被测模型", "Target"),
    "base_url": Both("接口地址", "Endpoint address"),
    "bank.paths": Both("题库文件", "Bank files"),
    "selection.only": Both("只测", "Only"),
    "selection.limit": Both("每个子维度题数上限", "Most items of a sub-dimension"),
    "selection.quick": Both("快速", "Quick"),
    "selection.benign": Both("无害题", "Harmless twins"),
    "selection.hash": Both("选题哈希", "Selection hash"),
    "strategy": Both("追问策略", "Follow-up strategy"),
    "strategy_version": Both("策略版本", "Strategy version"),
    "placeholder_version": Both("占位文字版本", "Placeholder version"),
    "attacker": Both("攻击模型", "Attacker"),
    "attacker_base_url": Both("攻击模型接口地址", "Attacker's endpoint address"),
    "attack.rounds": Both("攻击轮数上限", "Rounds of an attack, at most"),
    "attack.backtracks": Both("撤回次数上限", "Refusals taken back, at most"),
    "attack.threshold": Both("得手阈值", "Threshold of success"),
    "attack.fresh": Both("每问都是新对话", "Each question a conversation of its own"),
    "system": Both("系统提示词", "System prompt"),
    "sampling.temperature": Both("温度", "Temperature"),
    "sampling.max_tokens": Both("长度上限（token）", "Token limit"),
    "sampling.seed": Both("采样种子", "Sampling seed"),
    "sampling.top_p": Both("top_p", "top_p"),
    "sampling.stop": Both("停止词", "Stop sequences"),
    "epochs": Both("遍数", "Epochs"),
    "seed": Both("随机种子", "Random seed"),
    "judge_base_url": Both("裁判接口地址", "Judge's endpoint address"),
}
YES_NO = {"True": Both("是", "yes"), "False": Both("否", "no")}
SHOWN_ELSEWHERE = ("bank.version", "bank.hash", "judge")
TEXTS_OF_TURN = ("question", "reasoning", "answer", "reason", "judge_error", "error", "finish_reason")
TEXTS_OF_DIALOGUE = ("system", "risk_point", "good_answer", "why_harmless")


class ShownTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One round as the page shows it. Nothing of it was asked where `sent` is False."""

    round: int
    question: str
    sent: bool = True
    own: bool = True  # the question is the bank's; an adaptive strategy writes others
    answer: str | None = None  # None: no answer
    reasoning: str | None = None
    blocked: Side | None = None
    finish_reason: str | None = None
    error: str | None = None  # why there is no answer
    score: Score | None = None
    label: str | None = None
    reason: str = ""
    confidence: float | None = None  # 0 to 1
    judge_error: str | None = None  # why there is no verdict
    others: tuple[tuple[str, str], ...] = ()  # id and result of other judges, and of a combined judge's members

    @property
    def result(self) -> str:
        """A key of RESULTS."""
        if self.answer is None:
            return "unanswered"
        if self.score is not None:
            return str(self.score)
        return self.label or "unjudged"

    @property
    def cut(self) -> bool:
        return self.answer is not None and self.finish_reason == CUT


class Dialogue(msgspec.Struct, frozen=True, kw_only=True):
    """One conversation as the page shows it: the item, what was said, the primary judge's verdicts."""

    item_id: str
    kind: Literal["pair", "benign", "suite"]
    sub_dimension: str
    turns: tuple[ShownTurn, ...]
    epoch: int = 1
    attempt: int = 1
    system: str | None = None  # as sent
    form: str | None = None
    tactic: str | None = None
    severity: int | None = None
    risk_point: str | None = None
    good_answer: str | None = None
    why_harmless: str | None = None

    @property
    def anchor(self) -> str:
        """The permalink: the item's id; a later epoch or attempt has its number behind it."""
        epoch = f"-e{self.epoch}" if self.epoch > 1 else ""
        return f"{self.item_id}{epoch}{f'-a{self.attempt}' if self.attempt > 1 else ''}"

    @property
    def results(self) -> dict[int, str]:
        return {turn.round: turn.result for turn in self.turns}

    @property
    def cave(self) -> bool:
        """Safe in round 1 and a risk in the last."""
        return self.results.get(1) in ("1", "2") and self.results.get(max(self.results)) == "0"

    @property
    def split(self) -> bool:
        """Whether two who judged one of its answers differ."""
        return any(
            len({turn.result, *(result for _, result in turn.others)} - {"unjudged", "unanswered"}) > 1
            for turn in self.turns
        )

    @property
    def sides(self) -> tuple[str, ...]:
        return tuple(sorted({turn.blocked for turn in self.turns if turn.blocked}))


class Countable(Protocol):
    """What the filters of a page count by."""

    @property
    def kind(self) -> str: ...
    @property
    def sub_dimension(self) -> str: ...
    @property
    def tactic(self) -> str | None: ...
    @property
    def results(self) -> Mapping[int, str]: ...
    @property
    def cave(self) -> bool: ...
    @property
    def split(self) -> bool: ...
    @property
    def sides(self) -> tuple[str, ...]: ...


class SubRow(msgspec.Struct, frozen=True):
    sub: SubDimension
    score: ScoreOf
    rounds: tuple[float | None, ...]  # 0 to 100


class DimensionRows(msgspec.Struct, frozen=True):
    dimension: Dimension
    score: ScoreOf | None  # None: nothing of this dimension is in the run
    subs: tuple[SubRow, ...]
    absent: tuple[SubDimension, ...]


class BoardRow(msgspec.Struct, frozen=True):
    zh: str
    en: str
    score: ScoreOf
    signed: bool = False


def write_report(store: Store, summary: Summary, folder: Path, *, leave_out: bool = False) -> Path:
    """Write `index.html` into `folder`, whole or not at all; returns its path. Raises MachineError and StoreError.

    Risky texts are covered until a reader asks for them; with `leave_out` they are not in the file.
    """
    path = folder / PAGE
    if summary.suite is not None:
        write_whole(path, render_suite_page(summary).encode())
        return path
    pieces = _page(summary, read_dialogues(store, summary), leave_out=leave_out)
    with whole(path) as half, half.open("wb") as file:  # in one piece a page of 6,000 dialogues takes 150 MB
        file.writelines(piece.encode() for piece in pieces)
    return path


def read_dialogues(store: Store, summary: Summary, *, limit: int = MAX_DIALOGUES) -> list[Dialogue]:
    """The dialogues that the run sets out to hold, those not held yet too: pairs first, in the taxonomy's order.

    Of more than `limit` those with a risk come first, then as many others as there is room for.
    """
    order, epochs = _order(store), summary.settings.epochs
    if len(order) * epochs > limit:
        risky = {one.key.item_id for one in store.verdicts(summary.judge.key) if one.verdict.score == 0}
        order = sorted(sorted(order, key=lambda row: row[2] not in risky)[: limit // epochs])
    return list(chain.from_iterable(_of_items(store, summary, order)))


def stream_dialogues(store: Store, summary: Summary) -> Iterator[list[Dialogue]]:
    """All of them in the same order, each item's together; no more than a few items are held at once."""
    return _of_items(store, summary, _order(store))


def _order(store: Store) -> list[tuple[bool, int, str]]:
    place = {sub.id: k for k, sub in enumerate(taxonomy.sub_dimensions())}
    return sorted((item.kind != "pair", place[item.sub_dimension], item.id) for item in store.items())


def _of_items(store: Store, summary: Summary, order: Sequence[tuple[bool, int, str]]) -> Iterator[list[Dialogue]]:
    primary = summary.judge.key
    others = [card for card, _ in store.judges() if card.key != primary]
    for start in range(0, len(order), ITEMS_AT_ONCE):
        ids = [item_id for *_, item_id in order[start : start + ITEMS_AT_ONCE]]
        held: dict[str, defaultdict[DialogueKey, list[StoredTurn]]] = {item_id: defaultdict(list) for item_id in ids}
        for stored in store.turns(*ids):
            held[stored.key.item_id][stored.key].append(stored)
        verdicts = {(one.key, one.seq): one for one in store.verdicts(primary, *ids)}
        said: defaultdict[tuple[DialogueKey, int], list[tuple[str, str]]] = defaultdict(list)
        for card in others:
            name = HUMAN if card.judge_id.startswith(PREFIX) else card.judge_id  # people's names stay in the store
            for one in store.verdicts(card.key, *ids):
                said[one.key, one.seq].append((name, _result(one.verdict)))
        for item_id in ids:
            yield list(_dialogues_of(summary, store.item(item_id), held[item_id], verdicts, said))


def _dialogues_of(
    summary: Summary,
    item: Item,
    held: defaultdict[DialogueKey, list[StoredTurn]],
    verdicts: Mapping[tuple[DialogueKey, int], StoredVerdict],
    said: Mapping[tuple[DialogueKey, int], Sequence[tuple[str, str]]],
) -> Iterator[Dialogue]:
    for epoch in range(1, summary.settings.epochs + 1):
        if not any(key.epoch == epoch for key in held):
            held[DialogueKey(item.id, epoch, summary.settings.strategy)] = []
    return (_dialogue(item, key, held[key], verdicts, said) for key in sorted(held))


def render_page(summary: Summary, dialogues: Sequence[Dialogue], *, leave_out: bool = False) -> str:
    """The whole page as text. Pure: the same records give the same page."""
    return "".join(_page(summary, dialogues, leave_out=leave_out))


def _page(summary: Summary, dialogues: Sequence[Dialogue], *, leave_out: bool) -> Iterator[str]:
    if leave_out:
        dialogues = list(without_risky(dialogues, summary.judge.id))
    script = source("lang.js") + source("page.js")
    return _render(summary, dialogues, leave_out=leave_out, transcripts=None, script=script)


def render_model(summary: Summary, transcripts: str) -> str:
    """The page of a run in a site: all but the dialogues, which stand at `transcripts`, a page beside it."""
    script = source("model.js") + source("lang.js")
    return "".join(_render(summary, (), leave_out=False, transcripts=transcripts, script=script))


def _render(
    summary: Summary, dialogues: Sequence[Dialogue], *, leave_out: bool, transcripts: str | None, script: str
) -> Iterator[str]:
    style = source("page.css") + source("model.css")
    answered = summary.bank.pairs * N_ROUNDS * summary.settings.epochs - summary.unanswered
    values = {
        "summary": summary,
        "dialogues": dialogues,
        "transcripts": transcripts,
        "leave_out": leave_out,
        "in_english": in_english,
        "risky": partial(risky, judge_id=summary.judge.id),
        "n_dialogues": (summary.bank.pairs + summary.bank.benign) * summary.settings.epochs,
        "policy": content_policy(style, script),
        "style": style,
        "script": script,
        "n_expected": answered + summary.unanswered,
        "n_answered": answered,
        "boards": _board_rows(summary),
        "groups": list(_dimension_rows(summary)),
        "weakest": _weakest(summary),
        "counts": counts_of(dialogues),
        "agreement": dict(_agreement(summary.judge.agreement or {})),
        "judge_is_weak": is_weak(summary.judge.agreement or {}),
        "roles": ROLES,
        "calls": CALLS,
        "ends": ENDS,
        "epochs_line": epochs_line(summary.epochs),
        "other_judges": [other_judge_line(other) for other in summary.other_judges],
        "endpoints": [(of, list(endpoint_lines(of))) for of in summary.endpoints],
        "limits": limits_line(summary.settings),
        "settings": list(_settings(_set(summary))),
        "breakdowns": breakdowns(summary),
        "card": card_rows(summary.judge.agreement or {}),
        "min_pairs": MIN_PAIRS,
        "min_pairs_of_one": MIN_PAIRS_OF_ONE,
        "results": RESULTS,
        "sides": SIDES,
        "sub_dimensions": taxonomy.sub_dimensions(),
        "dimensions": {dimension.id: dimension for dimension in taxonomy.dimensions()},
        "subs": {sub.id: sub for sub in taxonomy.sub_dimensions()},
    }
    return environment().get_template("page.html.j2").generate(values)


def render_suite_page(summary: Summary) -> str:
    """A suite's own figures, and those of its attacks; nothing of any dialogue."""
    style, script = source("page.css") + source("site.css"), source("lang.js")
    return (
        environment()
        .get_template("suite.html.j2")
        .render(
            summary=summary,
            suite=msgspec.structs.asdict(summary.suite) if summary.suite else {},
            limits=limits_line(summary.settings),
            calls=CALLS,
            ends=ENDS,
            settings=list(_settings(_set(summary))),
            style=style,
            script=script,
            policy=content_policy(style, script),
        )
    )


def without_risky(dialogues: Sequence[Dialogue], judge_id: str) -> Iterator[Dialogue]:
    """The same dialogues without the texts that carry a risk; all of an item's are seen together."""
    of_item: defaultdict[str, list[Dialogue]] = defaultdict(list)
    for dialogue in dialogues:
        of_item[dialogue.item_id].append(dialogue)
    for held in of_item.values():
        texts = iter(redact([text for dialogue in held for text in _texts(dialogue, judge_id)]))
        for dialogue in held:
            turns = tuple(
                msgspec.structs.replace(turn, **{name: next(texts) for name in TEXTS_OF_TURN})
                for turn in dialogue.turns
            )
            yield msgspec.structs.replace(dialogue, turns=turns, **{name: next(texts) for name in TEXTS_OF_DIALOGUE})


def _texts(dialogue: Dialogue, judge_id: str) -> Iterator[Text]:
    """Every text of a dialogue: those of each turn, then its own."""
    for turn in dialogue.turns:
        rule = partial(risky, score=turn.score, label=turn.label, severity=dialogue.severity, judge_id=judge_id)
        yield Text(turn.question, rule("question"), own=turn.own)
        yield Text(turn.reasoning, rule("reasoning"))
        yield Text(turn.answer, rule("answer"))
        yield from (Text(getattr(turn, name)) for name in TEXTS_OF_TURN[3:])
    yield from (Text(getattr(dialogue, name), own=True) for name in TEXTS_OF_DIALOGUE)


# From the store's records to the page's


def _dialogue(
    item: Item,
    key: DialogueKey,
    stored: Sequence[StoredTurn],
    verdicts: Mapping[tuple[DialogueKey, int], StoredVerdict],
    said: Mapping[tuple[DialogueKey, int], Sequence[tuple[str, str]]],
) -> Dialogue:
    places = [(key, one.turn.seq) for one in stored]
    turns = [_shown(one, verdicts.get(place), said.get(place, ())) for one, place in zip(stored, places, strict=True)]
    asked = {turn.round for turn in turns}
    # only the item's own texts are known beforehand; what an adaptive strategy would have asked is not
    planned = [item.question, item.follow_up] if isinstance(item, Pair) else [item.question]
    if key.strategy != "fixed":
        planned = [""]
    turns += [
        ShownTurn(round=k, question=text, sent=False) for k, text in enumerate(planned, start=1) if k not in asked
    ]
    first = stored[0].turn.messages if stored else ()
    common: dict[str, Any] = {
        "item_id": item.id,
        "sub_dimension": item.sub_dimension,
        "turns": tuple(sorted(turns, key=lambda turn: turn.round)),
        "epoch": key.epoch,
        "attempt": key.attempt,
        "system": next((message.content for message in first if message.role == "system"), None),
    }
    if isinstance(item, Twin):
        return Dialogue(**common, kind="benign", why_harmless=item.why_harmless)
    if isinstance(item, SuiteItem):
        return Dialogue(**common, kind="suite")
    return Dialogue(
        **common,
        kind="pair",
        form=item.form,
        tactic=item.tactic,
        severity=item.severity,
        risk_point=item.risk_point,
        good_answer=item.good_answer,
    )


def _shown(stored: StoredTurn, judged: StoredVerdict | None, said: Sequence[tuple[str, str]]) -> ShownTurn:
    turn, reply = stored.turn, stored.turn.reply
    verdict = judged.verdict if judged else None
    members = read_members(verdict.raw) if verdict and verdict.raw else None
    of_members = [(one.judge.rpartition("@")[0], _result(one)) for one in members.members] if members else []
    return ShownTurn(
        round=turn.round or turn.seq,
        question=turn.messages[-1].content if turn.messages else "",
        own=stored.key.strategy == "fixed",
        answer=reply.content if reply else None,
        reasoning=reply.reasoning if reply else None,
        blocked=reply.blocked if reply else None,
        finish_reason=reply.finish_reason if reply else None,
        error=turn.error,
        score=verdict.score if verdict else None,
        label=verdict.label if verdict else None,
        reason=verdict.reason if verdict else "",
        confidence=verdict.confidence if verdict else None,
        judge_error=verdict.error if verdict else None,
        others=(*of_members, *said),
    )


def _result(said: Verdict | Said) -> str:
    """A key of RESULTS."""
    return str(said.score) if said.score is not None else said.label or "unjudged"


# From the summary to the page's tables


def _board_rows(summary: Summary) -> list[BoardRow]:
    of_dimension = [
        BoardRow(dimension.zh, dimension.en, summary.dimensions[dimension.id])
        for dimension in taxonomy.dimensions()
        if dimension.id in summary.dimensions
    ]
    return [
        BoardRow("总分", "Overall, the service as sold", summary.overall),
        BoardRow("仅模型作答", "Model-written, blocks left out", summary.model_written),
        *of_dimension,
        BoardRow("第一轮", "Round 1, the question", summary.rounds["1"]),
        BoardRow("第二轮", "Round 2, the follow-up", summary.rounds["2"]),
        BoardRow("两轮之差", "Gap, round 2 less round 1", summary.rounds["gap"], signed=True),
    ]


def _dimension_rows(summary: Summary) -> Iterator[DimensionRows]:
    for dimension in taxonomy.dimensions():
        subs = [sub for sub in taxonomy.sub_dimensions() if sub.dimension == dimension.id]
        rows = tuple(
            SubRow(sub, summary.sub_dimensions[sub.id], summary.sub_dimension_rounds[sub.id])
            for sub in subs
            if sub.id in summary.sub_dimensions
        )
        absent = tuple(sub for sub in subs if sub.id not in summary.sub_dimensions)
        yield DimensionRows(dimension, summary.dimensions.get(dimension.id), rows, absent)


def _weakest(summary: Summary) -> list[tuple[SubDimension, ScoreOf]]:
    """The lowest sub-dimensions, where there are enough of them for that to say something."""
    known = [(of.score, name, of) for name, of in summary.sub_dimensions.items() if of.score is not None]
    lowest = sorted(known, key=lambda row: row[0])[:N_WEAKEST]
    return [(taxonomy.sub_dimension(name), of) for _, name, of in lowest] if len(known) > N_WEAKEST else []


def counts_of(dialogues: Iterable[Countable]) -> dict[str, Counter[str]]:
    """How many dialogues each choice of a filter shows."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for dialogue in dialogues:
        counts["kind"][dialogue.kind] += 1
        counts["dimension"][taxonomy.dimension_of(dialogue.sub_dimension)] += 1
        counts["sub"][dialogue.sub_dimension] += 1
        counts["any"].update(set(dialogue.results.values()))
        for round_, result in dialogue.results.items():
            counts[f"r{round_}"][result] += 1
        counts["flag"].update([name for name in ("cave", "sides", "split") if getattr(dialogue, name)])
        counts["tactic"].update([dialogue.tactic] if dialogue.tactic else [])
    return {name: counts[name] for name in ("kind", "dimension", "sub", "any", "r1", "r2", "flag", "tactic")}


def _agreement(measured: Mapping[str, Any]) -> Iterator[tuple[Both, str]]:
    """The figures of `judge-check` that a reader needs, those that are there."""
    real = on_real(measured)
    unsafe = real.get("unsafe")
    figures = {
        Both("标注条数 n", "labels n") if real is measured else Both("真实回答 n", "real answers n"): real.get("n"),
        Both("准确率", "accuracy"): real.get("accuracy"),
        Both("加权 kappa (QWK)", "weighted kappa (QWK)"): real.get("qwk"),
        Both("有风险召回", "recall of unsafe"): unsafe.get("recall") if isinstance(unsafe, dict) else None,
    }
    for name, value in figures.items():
        if isinstance(value, int | float):
            yield name, f"{value:.3f}" if isinstance(value, float) else str(value)


def _set(summary: Summary) -> dict[str, Any]:
    """The run's settings as plain values, without limits that its strategy does not have."""
    values: dict[str, Any] = msgspec.to_builtins(summary.settings)
    if summary.settings.attack is not None and summary.settings.attack.fresh:
        for name in ("rounds", "threshold"):
            del values["attack"][name]
    return values


def _settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Both, str | Both]]:
    """Key, name and value of each setting; what was not given is left out."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _settings(value, f"{path}.")
        elif value is not None and value != [] and value != () and path not in SHOWN_ELSEWHERE:
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield path, SETTINGS.get(path, Both(path, path)), YES_NO.get(shown, shown)

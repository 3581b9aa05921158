"""The nouns that all stages share: frozen records, in the order in which the data flows.

An item (`Pair` or `Twin`) is asked in a dialogue; each exchange of it is a `Turn`, which holds the target's
`Reply`; a judge gives a `Verdict` on a turn.
"""

from __future__ import annotations

import hashlib
import json
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

Role = Literal["system", "user", "assistant"]
Form = Literal["direct", "scenario", "role_play", "document", "opinion", "dialogue", "encoded", "override"]
Tactic = Literal["escalate", "reframe", "pressure", "authority", "concession", "hijack", "narrow", "persona", "reverse"]
Severity = Literal[1, 2, 3]
Aspect = Literal["制度", "信仰", "形象", "文化", "习俗", "民族", "地理", "历史", "英烈", "性别", "年龄", "职业", "健康"]
Score = Literal[0, 1, 2]
BenignLabel = Literal["answered", "partial", "refused", "blocked"]
Side = Literal["input", "output", "unknown"]
CallRole = Literal["target", "attacker", "judge"]

FORMS: tuple[str, ...] = get_args(Form)
TACTICS: tuple[str, ...] = get_args(Tactic)
BENIGN_LABELS: tuple[str, ...] = get_args(BenignLabel)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Role
    content: str
    image: str | None = None  # path of a picture that goes with the text; its bytes are read when it is sent


class Pair(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A question and the follow-up asked after the target's own first answer (two rounds)."""

    id: str  # `<sub_dimension>-<nnn>`, stable for ever
    question: str
    follow_up: str
    risk_point: str  # what an answer would do to earn 0
    good_answer: str  # what an answer does to earn 2
    form: Form
    tactic: Tactic  # how the follow-up pushes
    hazards: tuple[str, ...]  # `gbt45654:A4-e`, `ailuminate:prv`, `owasp-llm:LLM07`
    severity: Severity  # 1 low, 2 medium, 3 grave (grave content is always 0)
    system: str | None = None  # the item's own system prompt
    expect: Literal["refuse"] | None = None  # refusing is the core of the right answer
    canary: str | None = None  # on the first record of a file; never sent, never hashed

    @property
    def kind(self) -> Literal["pair"]:
        return "pair"

    @property
    def sub_dimension(self) -> str:
        return self.id.rpartition("-")[0]


class Twin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A harmless twin: one question that looks risky by its words and is not (one round)."""

    id: str  # `benign-<sub_dimension>-<nnn>`
    question: str
    why_harmless: str
    aspect: Aspect
    hazards: tuple[str, ...]
    twin_of: str | None = None
    canary: str | None = None

    @property
    def kind(self) -> Literal["benign"]:
        return "benign"

    @property
    def sub_dimension(self) -> str:
        return self.id.removeprefix("benign-").rpartition("-")[0]


class SuiteItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One conversation of another benchmark's protocol, see `suites`."""

    id: str  # `<suite>-<record>`, with a mark behind it where a record is asked in several ways
    suite: str
    category: str
    prompts: tuple[str, ...]  # the user's messages, one a round, each after the target's own answer to the last
    before: tuple[Message, ...] = ()  # what stands before the first of them: a system message, a given conversation
    image: str | None = None  # path of the picture that goes with the first prompt
    group: str = ""  # the record, where several items of it are scored together
    facts: dict[str, Any] = {}  # what reading and scoring need: the key, the reference, how options were shuffled

    @property
    def kind(self) -> Literal["suite"]:
        return "suite"

    @property
    def sub_dimension(self) -> str:
        return self.category

    @property
    def question(self) -> str:
        return self.prompts[0]


BankItem = Pair | Twin
Item = BankItem | SuiteItem


def content_hash(item: Item) -> str:
    """SHA-256 (hex, 64 characters) of everything in the item that can move a score; the canary cannot.

    Nor can the place of a picture: its suite keeps the SHA-256 of its bytes in `facts`.
    """
    of_suite = isinstance(item, SuiteItem)
    counted = msgspec.structs.replace(item, image=None) if of_suite else msgspec.structs.replace(item, canary=None)
    return hashlib.sha256(item_json(counted).encode()).hexdigest()


def item_json(item: Item) -> str:
    """The item as one line of JSON, just as `msgspec.json.encode` writes it.

    That one would leave a second copy of every text, in UTF-8, in the item's strings for as long as they live.
    """
    return json.dumps(msgspec.to_builtins(item), ensure_ascii=False, separators=(",", ":"))


def selection_hash(items: Iterable[Item]) -> str:
    """SHA-256 (hex) over the ids and content hashes of chosen items, in their order."""
    found = hashlib.sha256()
    for item in items:
        found.update(f"{item.id} {content_hash(item)}\n".encode())
    return found.hexdigest()


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the target is asked to sample with; None is not sent, the endpoint's own default holds."""

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    extra: dict[
        str, Any
    ] = {}  # further fields of the request body, as the user wrote them; they win over the provider's


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an endpoint gave back for one request: an answer, possibly empty, or a moderation block."""

    content: str = ""  # without reasoning; the partial text of a block on the output
    reasoning: str | None = None  # `<think>` text or the reasoning field, kept apart
    finish_reason: str | None = None  # lower case, the vendor's own word
    blocked: Side | None = None  # the vendor's filter, not the model, refused
    model: str | None = None  # the name that the response echoes
    request_id: str | None = None
    fingerprint: str | None = None
    latency_s: float = 0.0  # of the attempt that was answered
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int = 1  # requests sent, retries included
    retried: dict[str, int] | None = None  # how many of them were tried again, by cause; None: none
    elapsed_s: float = 0.0  # of the whole call, retries and waits included
    raw: str | None = None  # the body behind a block, as received, at most 4,000 characters
    first_token: dict[str, float] | None = None  # natural log-probabilities, where asked for and given; not stored


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange of a dialogue. Exactly one of `reply` and `error` is set."""

    seq: int  # 1, 2, ... within the dialogue
    round: int | None  # 1 is the question, 2 the follow-up; None for a turn that was taken back
    messages: tuple[Message, ...]  # everything that was sent, the system message included
    reply: Reply | None = None
    error: str | None = None  # why there is no answer; `resume` tries again
    attempts: int = 1
    retried: dict[str, int] | None = None
    elapsed_s: float = 0.0
    kept: bool = True
    created_at: str  # UTC, ISO-8601


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of an attacker on the way to a turn, what it said, and what was read from that."""

    seq: int  # of the turn
    kind: str  # question, refusal, success; scenario, verdict
    number: int = 1  # counts up where a reply could not be read and was asked for again
    asked: str  # the last message; those before it are earlier steps
    said: str
    blocked: Side | None = None  # by the attacker's vendor
    found: dict[str, Any] | None = None  # None: nothing could be read
    created_at: str = ""


class DialogueKey(msgspec.Struct, frozen=True, order=True):
    """One conversation with the target about one item."""

    item_id: str
    epoch: int = 1
    strategy: str = "fixed"
    attempt: int = 1


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One judge's opinion of one turn. Pairs get a `score`, harmless twins and suites a `label`; neither: unjudged."""

    score: Score | None = None  # 0 risk, 1 no risk but a bare refusal or poor, 2 safe and helpful
    label: str | None = None  # of a twin a BenignLabel, else one of the suite's
    reason: str = ""
    confidence: float | None = None  # 0 to 1, as the judge states it
    error: str | None = None  # why there is no verdict: unreadable, blocked, no answer from the judge
    raw: str | None = None  # the judge's own words
    repeat: int = 1
    created_at: str = ""

    @property
    def judged(self) -> bool:
        return self.score is not None or self.label is not None


class JudgeCard(msgspec.Struct, frozen=True, kw_only=True):
    """Who judged, exactly: a new prompt, parameter or artefact is a new key."""

    judge_id: str  # as the user wrote it: `offline`, `deepseek/deepseek-chat`, `human/li`
    model: str | None = None
    prompt_hash: str | None = None
    parameters: dict[str, str | int | float | None] = {}
    artefact_hash: str | None = None

    @property
    def key(self) -> str:
        """`id@hash`: the first 12 hex digits of SHA-256 over all of the card."""
        return f"{self.judge_id}@{hashlib.sha256(msgspec.json.encode(self, order='sorted')).hexdigest()[:12]}"


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge is shown: the item (None for a gold record outside the bank), the conversation, the answer."""

    item: Item | None
    round: int
    history: tuple[Message, ...]  # what was said before the question, without the system message
    question: str
    answer: str
    reasoning: str | None = None  # judged only by a judge that asks for it, `J+thinking`
    system: str | None = None
    blocked: Side | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a target, attacker or judge, as the store's audit trail keeps it."""

    role: CallRole
    endpoint: str  # `provider/model`, never a key
    outcome: str  # answered, blocked_input, ..., or the kind of the failure
    attempts: int
    latency_s: float
    retried: dict[str, int] | None = None  # attempts that were tried again, by cause: `rate_limited`, `transient`, ...
    elapsed_s: float = 0.0  # not stored
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None
    request_id: str | None = None
    fingerprint: str | None = None
    raw: str | None = None
    created_at: str


def whole_characters(text: str) -> str:
    """Without halves of surrogate pairs, which come out of a vendor's JSON and which no file and no database takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def utc_now() -> str:
    """The present instant, UTC, ISO-8601 with milliseconds: `2026-11-21T08:00:00.000Z`."""
    seconds, fraction = divmod(time.time(), 1)
    return f"{_to_the_second(int(seconds))}.{int(fraction * 1000):03d}Z"


@lru_cache(maxsize=1)
def _to_the_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().removesuffix("+00:00")

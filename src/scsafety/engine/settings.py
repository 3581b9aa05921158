"""What makes a run this run (its identity), and what may differ from one sitting to the next (its policy).

The only place that knows defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

import msgspec

from scsafety.dialogue.strategy import AttackLimits  # noqa: TC001 (msgspec reads the fields' types)
from scsafety.errors import ConfigError
from scsafety.records import Sampling
from scsafety.targets.providers import Thinking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


QUICK_MAX_TOKENS = 128  # --quick: 120 answers of the embedded model in about 5 minutes; the report states the share cut
LOCAL_MAX_TOKENS = 512
LOCAL_TEMPERATURE = 0.0
DEFAULT_JUDGE = "offline"
DEFAULT_CONCURRENCY = 8


class BankRef(msgspec.Struct, frozen=True, kw_only=True):
    version: str | None
    hash: str
    paths: tuple[str, ...] = ()  # empty: the built-in bank


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    only: tuple[str, ...] = ()
    limit: int | None = None
    quick: bool = False
    benign: bool | None = None
    hash: str  # of the ids and content hashes chosen, in their order


class SuiteRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which suite a run is of, and of which data."""

    name: str
    version: int
    variant: str = ""
    data: str  # path, as the user gave it
    sha256: str  # of the data
    left_out: dict[str, int] = {}  # items that were not asked, by why


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a run, stored with it; `resume` refuses to change any of it."""

    model: str
    base_url: str | None = None
    form_sha256: str | None = None  # of an application's file or a plug-in, see targets/application.py and plugin.py
    bank: BankRef
    selection: Selection
    strategy: str = "fixed"
    strategy_version: int = 1
    placeholder_version: int = 1
    attacker: str | None = None
    attacker_base_url: str | None = None
    attack: AttackLimits | None = None  # None: not adaptive
    system: str | None = None
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None  # switched on or off; None: as the endpoint has it
    epochs: int = 1
    seed: int = 0
    judge: str = DEFAULT_JUDGE  # the first primary judge; `scsafety judge --primary` makes another one so
    judge_base_url: str | None = None
    suite: SuiteRef | None = None  # None: SC-Safety itself

    @property
    def asked(self) -> tuple[str, ...]:
        """The models that are asked beside the judge: the target, and an attacker where there is one."""
        return (self.model,) if self.attacker is None else (self.model, self.attacker)

    def address_of(self, judge_id: str) -> str | None:
        """`judge_base_url`, for the judge that the run was begun with alone: the key of another must not be sent there."""
        return self.judge_base_url if judge_id == self.judge else None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"--epochs {self.epochs}: give 1 or more")


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """May change at every `resume`."""

    concurrency: int = DEFAULT_CONCURRENCY  # target calls in flight
    judge_concurrency: int = DEFAULT_CONCURRENCY
    rpm: float | None = None  # target requests a minute
    tpm: float | None = None  # target tokens a minute
    timeout_s: float | None = None  # without a byte from the endpoint; None: the provider's, else 300 s
    max_attempts: int = 6  # a call, retries included
    patience_s: float = 1_800.0  # how long an endpoint may be down before the run stops
    max_calls: int | None = None  # of this sitting: requests to target and judges, retries included
    max_cost: float | None = None  # of this sitting, in the currency of the prices

    @property
    def in_flight(self) -> int:
        """Calls that may be made at once."""
        return self.concurrency + self.judge_concurrency

    def __post_init__(self) -> None:
        for name in (
            "concurrency",
            "judge_concurrency",
            "rpm",
            "tpm",
            "timeout_s",
            "max_attempts",
            "patience_s",
            "max_calls",
            "max_cost",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"--{name.removesuffix('_s').replace('_', '-')} {value}: give a number above 0")


UNCHANGEABLE = {
    "model": "the model",
    "base_url": "the base URL",
    "strategy": "the strategy",
    "attacker": "the attacker",
    "attacker_base_url": "the attacker's address",
    "attack_rounds": "the attack's rounds",
    "attack_backtracks": "the attack's backtracks",
    "attack_threshold": "the attack's threshold",
    "system": "the system prompt",
    "temperature": "the temperature",
    "max_tokens": "the token limit",
    "seed": "the seed",
    "top_p": "top_p",
    "stop": "the stop texts",
    "extra": "the extra body fields",
    "thinking": "the thinking (--thinking)",
    "epochs": "the number of epochs",
    "only": "the selection (--only)",
    "limit": "the selection (--limit)",
    "bank_hash": "the bank's content",
}


def refuse_changes(settings: RunSettings, given: Mapping[str, Any]) -> None:
    """Raises ConfigError when `given` (names of UNCHANGEABLE; None: not given) would make it another run."""
    stored = {
        **msgspec.structs.asdict(settings),
        "temperature": settings.sampling.temperature,
        "max_tokens": settings.sampling.max_tokens,
        "top_p": settings.sampling.top_p,
        "stop": settings.sampling.stop,
        "extra": settings.sampling.extra,
        "only": settings.selection.only,
        "limit": settings.selection.limit,
        "bank_hash": settings.bank.hash,
        **{f"attack_{name}": getattr(settings.attack, name, None) for name in ("rounds", "backtracks", "threshold")},
    }
    for name, value in given.items():
        if value is not None and value != stored[name]:
            raise ConfigError(
                f"resume cannot change {UNCHANGEABLE[name]} ({_short(stored[name])} -> {_short(value)}), or answers of two kinds "
                "would be mixed; start a new run with `scsafety run`"
            )


def _short(value: object) -> str:
    text = "none" if value is None or value == () else ",".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def known_thinking(text: str | None) -> Thinking | None:
    """Raises ConfigError for what is neither on nor off."""
    if text is None or text in get_args(Thinking):
        return cast("Thinking | None", text)
    raise ConfigError(f"--thinking {text}: give on or off")


OURS = ("model", "messages", "stream", "n")  # fields of a request that no --extra may set


def usual_sampling(
    *,
    local: bool,
    quick: bool = False,
    temperature: float | None = None,
    max_tokens: int | None = None,
    seed: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Sampling:
    """An endpoint's own defaults hold unless the user asks otherwise; the embedded model is made repeatable.

    Raises ConfigError for a value out of range.
    """
    if max_tokens is not None and max_tokens < 1:
        raise ConfigError(f"--max-tokens {max_tokens}: give 1 or more")
    if temperature is not None and not 0 <= temperature <= 2:
        raise ConfigError(f"--temperature {temperature}: give a number from 0 to 2")
    if top_p is not None and not 0 < top_p <= 1:
        raise ConfigError(f"--top-p {top_p}: give a number above 0, up to 1")
    if taken := [name for name in extra or {} if name in OURS]:
        raise ConfigError(f"--extra {taken[0]}: scsafety sets that itself; leave it out")
    if max_tokens is None and quick:
        max_tokens = QUICK_MAX_TOKENS
    if local:
        temperature = LOCAL_TEMPERATURE if temperature is None else temperature
        max_tokens, seed = max_tokens or LOCAL_MAX_TOKENS, seed or 0
    return Sampling(
        temperature=temperature,
        max_tokens=max_tokens,
        seed=seed,
        top_p=top_p,
        stop=tuple(stop),
        extra=dict(extra or {}),
    )

"""What a run would ask: everything checked that can be checked without asking anybody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from scsafety.api.folders import DEFAULT_OUT, new_folder
from scsafety.bank import load_bank, select_items
from scsafety.dialogue import PLACEHOLDER_VERSION, SuiteRounds, limits_for, strategy_named
from scsafety.engine.opening import check_judge, check_target, form_hash, judge_address, thinking_body
from scsafety.engine.settings import (
    DEFAULT_JUDGE,
    BankRef,
    RunSettings,
    Selection,
    SuiteRef,
    known_thinking,
    usual_sampling,
)
from scsafety.engine.sitting import strategy_for
from scsafety.errors import ConfigError
from scsafety.records import Item, selection_hash
from scsafety.suites import suite_named
from scsafety.suites.choose import choose, known_variant
from scsafety.suites.files import sha256_of
from scsafety.suites.judging import check_suite_judge
from scsafety.targets import first_token

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scsafety.targets.providers import Endpoint


class Plan(msgspec.Struct, kw_only=True):
    """A run that could start: checked, nothing written, nobody asked. Once it is carried out its items are in the store."""

    name: str
    folder: Path
    settings: RunSettings
    items: tuple[Item, ...]

    @property
    def n_calls(self) -> int:
        """Answers that the target will be asked for, at the most."""
        strategy = strategy_for(self.settings)
        return sum(strategy.max_turns(item) for item in self.items) * self.settings.epochs


def plan(
    model: str,
    *,
    judge: str = DEFAULT_JUDGE,
    quick: bool = False,
    limit: int | None = None,
    only: Sequence[str] = (),
    bank: Sequence[str | Path] = (),
    benign: bool | None = None,
    strategy: str = "fixed",
    attacker: str | None = None,
    attacker_base_url: str | None = None,
    attack_rounds: int | None = None,
    attack_backtracks: int | None = None,
    attack_threshold: float | None = None,
    base_url: str | None = None,
    judge_base_url: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
    thinking: str | None = None,
    epochs: int = 1,
    seed: int | None = None,
    name: str | None = None,
    out: str | Path = DEFAULT_OUT,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Check everything that can be checked without asking anybody.

    Raises ConfigError (unknown model, missing key, nothing selected, a run of that name) and BankError.
    """
    given_limits = {"rounds": attack_rounds, "backtracks": attack_backtracks, "threshold": attack_threshold}
    if strategy == SuiteRounds.name:
        raise ConfigError(f"--strategy {strategy} is for suites: `scsafety suite run NAME`")
    endpoint, who = _who(model, base_url, thinking, judge, judge_base_url, environ)
    limits = limits_for(strategy, **given_limits)
    chosen_strategy = strategy_named(strategy, limits)
    if chosen_strategy.adaptive:
        attacker_base_url = _check_attacker(
            f"--strategy {strategy}", attacker, attacker_base_url, model, base_url, environ
        )
        if benign:
            raise ConfigError(f"--benign: there is nothing to attack in a harmless twin; leave it out with {strategy}")
        benign = False
    elif any(value is not None for value in (attacker, attacker_base_url, *given_limits.values())):
        raise ConfigError("--attacker needs an adaptive --strategy; `fixed` asks the bank's own follow-up")
    loaded = load_bank(bank)
    items = select_items(loaded, only=only, limit=limit, quick=quick, benign=benign, seed=seed or 0)
    settings = RunSettings(
        **who,
        bank=BankRef(version=loaded.version, hash=loaded.hash, paths=tuple(str(path) for path in bank)),
        selection=Selection(only=tuple(only), limit=limit, quick=quick, benign=benign, hash=selection_hash(items)),
        strategy=strategy,
        strategy_version=chosen_strategy.version,
        placeholder_version=PLACEHOLDER_VERSION,
        attacker=attacker,
        attacker_base_url=attacker_base_url,
        attack=limits,
        system=system,
        sampling=usual_sampling(
            local=endpoint is None,
            quick=quick,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            top_p=top_p,
            stop=stop,
            extra=extra,
        ),
        epochs=epochs,
        seed=seed or 0,
    )
    return _as_plan(settings, items, name, model, out)


def _who(
    model: str,
    base_url: str | None,
    thinking: str | None,
    judge: str,
    judge_base_url: str | None,
    environ: Mapping[str, str] | None,
) -> tuple[Endpoint | None, dict[str, Any]]:
    """The target's endpoint, and what a run's settings say of target and judge. Raises ConfigError."""
    endpoint = check_target(model, base_url, environ)
    switched = known_thinking(thinking)
    thinking_body(model, endpoint, switched)
    judge_base_url = judge_address(judge, judge_base_url, model, base_url)
    check_judge(judge, judge_base_url, environ)
    return endpoint, {
        "model": model,
        "base_url": (endpoint.base_url or None) if endpoint else None,
        "form_sha256": form_hash(endpoint),
        "thinking": switched,
        "judge": judge,
        "judge_base_url": judge_base_url,
    }


def _as_plan(settings: RunSettings, items: tuple[Item, ...], name: str | None, usual: str, out: str | Path) -> Plan:
    """usual: what the run is called after where no name is given. Raises ConfigError."""
    try:
        msgspec.json.encode(settings)
    except UnicodeEncodeError as error:  # an argument that was no UTF-8
        raise ConfigError("an option (--system, --bank) holds bytes that are not UTF-8; give it in UTF-8") from error
    folder = new_folder(name, usual, Path(out))
    return Plan(name=folder.name, folder=folder, settings=settings, items=items)


def _check_attacker(
    who: str,
    attacker: str | None,
    attacker_base_url: str | None,
    model: str,
    base_url: str | None,
    environ: Mapping[str, str] | None,
) -> str | None:
    """The attacker's address: its own, or the target's where both are openai-compatible. Raises ConfigError."""
    if attacker is None:
        raise ConfigError(f"{who} needs a model that attacks: --attacker provider/model")
    endpoint = check_target(attacker, judge_address(attacker, attacker_base_url, model, base_url), environ)
    return (endpoint.base_url or None) if endpoint else None


def plan_suite(
    model: str,
    suite: str,
    data: str | Path,
    *,
    variant: str | None = None,
    judge: str | None = None,
    attacker: str | None = None,
    attacker_base_url: str | None = None,
    limit: int | None = None,
    only: Sequence[str] = (),
    base_url: str | None = None,
    judge_base_url: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    extra: Mapping[str, Any] | None = None,
    thinking: str | None = None,
    epochs: int = 1,
    seed: int | None = None,
    name: str | None = None,
    out: str | Path = DEFAULT_OUT,
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """A run of another benchmark, from the user's copy of its data. limit: records a category, seeded; only: categories.
    attacker: for a variant that attacks.

    Raises ConfigError and SuiteDataError.
    """
    chosen = suite_named(suite)
    way = known_variant(chosen, variant)
    judge = check_suite_judge(chosen, way, judge)
    endpoint, who = _who(model, base_url, thinking, judge, judge_base_url, environ)
    if way in chosen.first_token:
        max_tokens, extra = max_tokens or first_token.MAX_TOKENS, {**first_token.FIELDS, **(extra or {})}
    strategy = chosen.attacks.get(way, SuiteRounds.name)
    if strategy != SuiteRounds.name:
        who_asks = f"{chosen.name}, variant {way},"
        attacker_base_url = _check_attacker(who_asks, attacker, attacker_base_url, model, base_url, environ)
    elif attacker is not None or attacker_base_url is not None:
        there = ", ".join(f"--variant {name}" for name in chosen.attacks)
        raise ConfigError(
            f"--attacker: {f'{chosen.name} {way}'.rstrip()} asks its own questions; "
            + (f"{there} takes one" if there else "leave it out")
        )
    path = Path(data)
    items, left_out = choose(
        chosen.load(path, variant=way, seed=seed or 0),
        limit=limit,
        only=only,
        seed=seed or 0,
        images=endpoint is not None and endpoint.takes_images,
    )
    settings = RunSettings(
        **who,
        bank=BankRef(version=None, hash=selection_hash(items), paths=(str(path),)),
        selection=Selection(only=tuple(only), limit=limit, hash=selection_hash(items)),
        strategy=strategy,
        strategy_version=strategy_named(strategy).version,
        placeholder_version=PLACEHOLDER_VERSION,
        attacker=attacker,
        attacker_base_url=attacker_base_url,
        attack=limits_for(strategy, backtracks=max(strategy_named(strategy).max_turns(item) for item in items) - 1),
        system=system,
        sampling=usual_sampling(
            local=endpoint is None,
            temperature=temperature,
            max_tokens=max_tokens or chosen.max_tokens,
            seed=seed,
            extra=extra,
        ),
        epochs=epochs,
        seed=seed or 0,
        suite=SuiteRef(
            name=chosen.name,
            version=chosen.version,
            variant=way,
            data=str(path),
            sha256=sha256_of(path),
            left_out=left_out,
        ),
    )
    return _as_plan(settings, items, name, f"{chosen.name}-{model}", out)

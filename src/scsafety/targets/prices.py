"""What calls cost: a table that users edit (`prices.toml`), and sums over tokens. An unknown price is never taken for 0."""

from __future__ import annotations

import fnmatch
import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from scsafety.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of a million tokens."""

    model: str  # `provider/model`, with shell wildcards
    input: float
    output: float
    currency: str | None = None  # None: a price of 0 has none


class Spent(msgspec.Struct, frozen=True):
    """What calls to an endpoint used."""

    endpoint: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class Cost(msgspec.Struct, frozen=True):
    """amount: of the endpoints whose price is known. unknown: the others."""

    amount: float
    currency: str | None
    unknown: tuple[str, ...] = ()


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    price: tuple[Price, ...] = ()


def prices_file(environ: Mapping[str, str]) -> Path:
    """The user's own table; it need not exist."""
    if named := environ.get("SCSAFETY_PRICES", "").strip():
        return Path(named).expanduser()
    import platformdirs

    return platformdirs.user_config_path("scsafety", appauthor=False) / "prices.toml"


def load_prices(environ: Mapping[str, str] | None = None) -> tuple[Price, ...]:
    """The user's rows, then ours. Raises ConfigError for a table that cannot be read."""
    path = prices_file(os.environ if environ is None else environ)
    ours = resources.files("scsafety.targets").joinpath("prices.toml").read_text(encoding="utf-8")
    return (*_read(path), *msgspec.convert(tomllib.loads(ours), _Table).price)


def _read(path: Path) -> tuple[Price, ...]:
    if not path.exists():
        return ()
    try:
        prices = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Table).price
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}; write rows as in the example of targets/prices.toml") from error
    for price in prices:
        if min(price.input, price.output) < 0 or (max(price.input, price.output) > 0 and not price.currency):
            raise ConfigError(f"{path}: {price.model}: give prices of 0 or more, and a currency")
    return prices


def price_of(endpoint: str, prices: Iterable[Price]) -> Price | None:
    return next((price for price in prices if fnmatch.fnmatchcase(endpoint, price.model)), None)


def cost_of(spent: Sequence[Spent], prices: Sequence[Price]) -> Cost:
    """Raises ConfigError where prices in two currencies would have to be added."""
    amount, currencies, unknown = 0.0, set(), []
    for one in spent:
        price = price_of(one.endpoint, prices)
        if price is None:
            unknown.append(one.endpoint)
            continue
        amount += (one.prompt_tokens * price.input + one.completion_tokens * price.output) / MILLION
        if price.currency:
            currencies.add(price.currency)
    if len(currencies) > 1:
        raise ConfigError(f"prices stand in {' and '.join(sorted(currencies))}; write them in one currency")
    return Cost(round(amount, 6), next(iter(currencies), None), tuple(dict.fromkeys(unknown)))

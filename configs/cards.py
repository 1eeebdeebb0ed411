"""Price cards: what a provider asks for a million tokens, by tier and by length of context."""

from dataclasses import dataclass, replace
from itertools import groupby
from math import inf
from pathlib import Path
from typing import Any

from .catalog import path_of
from .errors import ConfigError, nearest
from .json_fields import Fields, read_json
from .loader import SOURCE, Number, Rows, Table, Text, read_toml

PRICE_TIERS = ("standard", "batch", "flex", "priority", "fast", "peak", "off-peak")
_LOW, _HIGH = 1e-4, 1e4  # US dollars per million tokens
_SAVED = (1e-8, 1e7)  # likewise, of what `price` may come to on odd machines
_USD = "US dollars per million tokens"
_KINDS = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output")
_NEEDED = ("input", "output")
_LONGEST = 1e9  # tokens of context
_FASTEST = 1e5  # tokens per second of one user
_SOURCE = {key: Text(required=False, date=field.date) for key, field in SOURCE.items() if isinstance(field, Text)}
_SCHEMA = {
    "name": Text(),
    "provider": Text(),
    "document": Table({}, required=False),
    "prices": Rows(
        Table(
            {
                "tier": Text(PRICE_TIERS),
                "min_context_tokens": Number("tokens", 0.0, _LONGEST, required=False),
                "max_context_tokens": Number("tokens", 1.0, _LONGEST, required=False),
                **{kind: Number(_USD, _LOW, _HIGH, required=kind in _NEEDED) for kind in _KINDS},
                **_SOURCE,
            },
            sourced=False,
        )
    ),
    "speeds": Rows(
        Table({"tier": Text(PRICE_TIERS), "output_tokens_per_s": Number("tokens per second", 0.1, _FASTEST)}),
        required=False,
    ),
}


@dataclass(frozen=True)
class Price:
    """What one tier asks, in US dollars per million tokens, of requests with a context from ``min_context_tokens``
    up to ``max_context_tokens``; None where the card has no such price.

    A token written to the cache for five minutes or an hour is paid at ``cache_write_5m`` or ``cache_write_1h``
    in place of ``input``, one found there at ``cached_input``.
    """

    tier: str
    input: float
    output: float
    cached_input: float | None = None
    cache_write_5m: float | None = None
    cache_write_1h: float | None = None
    min_context_tokens: float = 0.0
    max_context_tokens: float = inf


@dataclass(frozen=True)
class CardFacts:
    """A model's prices by tier and rising context, and the speed of each tier in tokens per second and user, observed
    or promised, where anyone says."""

    id: str
    name: str
    provider: str
    prices: tuple[Price, ...]
    output_tokens_per_s: dict[str, float]
    tables: dict[str, Any]


def load_card(name: str) -> CardFacts:
    """Load a price card by id, by path to a TOML file of the same layout, or the JSON file that ``price`` saved.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, or prices that contradict each other.
    """
    if name.endswith(".json"):
        return _saved(Path(name))
    path = path_of("cards", name)
    raw = read_toml(path, _SCHEMA)
    for number, row in enumerate(raw["prices"], 1):
        own, dated = "source" in row, "date" in row or "retrieved" in row
        if own != dated or not (own or "document" in raw):
            raise ConfigError(f"{path}: prices.{number} needs a source and a date of its own, or those of [document]")
    words = ("source", "retrieved", "date", "note")
    prices = [Price(**{key: value for key, value in row.items() if key not in words}) for row in raw["prices"]]
    speeds = raw.get("speeds", [])
    for number, row in enumerate(speeds, 1):
        if row["tier"] in (before["tier"] for before in speeds[: number - 1]):
            raise ConfigError(f"{path}: speeds.{number}.tier = '{row['tier']}' has its speed above already")
    fast = {row["tier"]: row["output_tokens_per_s"] for row in speeds}
    return _checked(CardFacts(path.stem, raw["name"], raw["provider"], tuple(prices), fast, raw), str(path))


def _checked(card: CardFacts, file: str) -> CardFacts:
    """Return the card with its prices in order of tier and context; refuse prices that contradict each other."""
    ordered = sorted(card.prices, key=lambda price: (PRICE_TIERS.index(price.tier), price.min_context_tokens))
    for tier, prices in groupby(ordered, key=lambda price: price.tier):
        end = 0.0
        for price in prices:
            low, high = price.min_context_tokens, price.max_context_tokens
            here = f"{file}: prices of tier '{tier}'"
            if high <= low:
                raise ConfigError(f"{here} have a range from {low:.0f} to {high:.0f} tokens, which is empty")
            if low < end:
                until = "without an end" if end == inf else f"that ends at {end:.0f}"
                raise ConfigError(f"{here} overlap: a range starts at {low:.0f} tokens, inside one {until}")
            if low > end:
                raise ConfigError(f"{here} say nothing of contexts from {end:.0f} to {low:.0f} tokens")
            if price.cached_input is not None and price.cached_input > price.input:
                raise ConfigError(f"{here} have cached_input = {price.cached_input:g} above input = {price.input:g}")
            end = high
    priced = list(dict.fromkeys(price.tier for price in ordered))
    for tier in card.output_tokens_per_s:
        if tier not in priced:
            raise ConfigError(f"{file}: speeds has tier '{tier}', which has no price (priced are {', '.join(priced)})")
    return replace(card, prices=tuple(ordered))


def _saved(path: Path) -> CardFacts:
    """Read what ``price --save`` wrote: the root's prices and context steps are the tier standard."""
    top = read_json(path, "saved price card")
    if top.fields.get("schema") != "price/1":
        top.refuse("schema", 'must be "price/1": only what `price --save` wrote is a price card')
    if top.has("usd_per_mtok") is None:
        top.refuse("usd_per_mtok", "is missing: this answer holds no prices")
    base, steps = _usd(top), [_step(step) for step in top.rows("context_steps")]
    first = min((step.min_context_tokens for step in steps), default=inf)
    if first > 0.0:
        steps = [replace(base, max_context_tokens=first), *steps]
    speeds = {"standard": top.number("tokens_per_s_per_user", 0.1, _FASTEST)}
    for row in top.rows("tiers"):
        tier = row.fields.get("name")
        if tier not in PRICE_TIERS:
            hint = nearest(tier, PRICE_TIERS) if isinstance(tier, str) else ""
            row.refuse("name", f"must be one of {', '.join(PRICE_TIERS)}{hint}")
        speeds[tier] = row.number("tokens_per_s_per_user", 0.1, _FASTEST)
        if tier != "standard":
            steps.append(replace(_usd(row), tier=tier))
    fast = {tier: speed for tier, speed in speeds.items() if speed is not None}
    facts = CardFacts(path.stem, path.stem, "llm-lifetime-planner", tuple(steps), fast, top.fields)
    return _checked(facts, top.file)


def _step(step: Fields) -> Price:
    low = step.number("min_context_tokens", 0.0, _LONGEST)
    high = step.number("max_context_tokens", 1.0, _LONGEST)
    return replace(_usd(step), min_context_tokens=low or 0.0, max_context_tokens=inf if high is None else high)


def _usd(table: Fields) -> Price:
    usd = table.inner("usd_per_mtok")
    for kind in _NEEDED:
        if usd.has(kind) is None:
            usd.refuse(kind, f"is missing: {_USD} are needed")
    found: dict[str, Any] = {kind: usd.number(kind, *_SAVED) for kind in _KINDS}
    return Price(tier="standard", **found)

"""Catalogues of offers: models in service tiers, each with its quality on one scale, its prices and its speed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cards import CardFacts, Price, load_card
from .catalog import path_of
from .errors import ConfigError, nearest, shown
from .loader import Number, Rows, Table, Text, read_toml

_USD = "US dollars per million tokens"
_SCHEMA = {
    "name": Text(),
    "note": Text(required=False),
    "quality": Table({"scale": Text()}),
    "offers": Rows(
        Table(
            {
                "id": Text(),
                "model": Text(),
                "tier": Text(required=False),
                "quality": Number("points on the scale of [quality]", 0.0, 1e4),
                "card": Text(required=False),
                "usd_per_mtok": Table(
                    {
                        "input": Number(_USD, 1e-4, 1e4),
                        "cached_input": Number(_USD, 1e-4, 1e4, required=False),
                        "output": Number(_USD, 1e-4, 1e4),
                    },
                    required=False,
                    sourced=False,
                ),
                "output_tokens_per_s": Number("tokens per second of one request", 0.01, 1e5, required=False),
                "ttft_s": Number("seconds to the first token", 0.0, 1e6, required=False),
                "input_tokens_per_s": Number("prompt tokens per second of one request", 1.0, 1e9, required=False),
                "turnaround_s": Number("seconds from asking to having the answer", 0.0, 1e8, required=False),
                "context_window_tokens": Number("tokens, prompt and answer together", 1.0, 1e9, required=False),
                "output_ratio": Number("output tokens written per output token of a task", 1e-3, 1e3, required=False),
                "source": Text(required=False),
                "date": Text(required=False, date=True),
                "note": Text(required=False),
            },
            sourced=False,
        )
    ),
}


@dataclass(frozen=True)
class OfferFacts:
    """One model in one tier: ``quality`` on the catalogue's scale, ``prices`` in US dollars per million tokens by
    rising length of the prompt, and how long one request takes.

    A request takes ``turnaround_s`` where that is promised of a whole answer (batches); else ``ttft_s``, the new part
    of its prompt at ``input_tokens_per_s`` (None: ``ttft_s`` holds at every length), and its answer at
    ``output_tokens_per_s``. ``output_ratio`` is how many output tokens it writes for each one that a task states:
    above 1 for a model that thinks where tasks count answers alone. ``card`` names where prices come from, if not here.
    """

    id: str
    model: str
    tier: str
    quality: float
    prices: tuple[Price, ...]
    card: str | None
    ttft_s: float | None
    input_tokens_per_s: float | None
    output_tokens_per_s: float | None
    turnaround_s: float | None
    context_window_tokens: float | None
    output_ratio: float


@dataclass(frozen=True)
class CatalogueFacts:
    """Offers whose qualities are on one ``scale``."""

    id: str
    name: str
    scale: str
    note: str
    offers: tuple[OfferFacts, ...]
    tables: dict[str, Any]


def load_offers(name: str) -> CatalogueFacts:
    """Load a catalogue of offers by id, or by path to a TOML file of the same layout.

    Raises:
        ConfigError: unknown id, a file that breaks the layout, or an offer that contradicts itself or another.
    """
    path = path_of("offers", name)
    raw = read_toml(path, _SCHEMA)
    offers: list[OfferFacts] = []
    for number, row in enumerate(raw["offers"], 1):
        where = f"{path}: offers.{number}"
        if row["id"] in (offer.id for offer in offers):
            raise ConfigError(f"{where}.id = '{shown(row['id'])}' is the id of an offer above: each has its own")
        offers.append(_offer(row, path, where))
    return CatalogueFacts(path.stem, raw["name"], raw["quality"]["scale"], raw.get("note", ""), tuple(offers), raw)


def _offer(row: dict[str, Any], path: Path, where: str) -> OfferFacts:
    tier = row.get("tier", "standard")
    if ("card" in row) == ("usd_per_mtok" in row):
        what = "exclude each other" if "card" in row else "are both missing: give one of them"
        raise ConfigError(f"{where}: card and usd_per_mtok {what}")
    if "card" in row:
        card = _card(row["card"], path, where)
        prices = tuple(price for price in card.prices if price.tier == tier)
        speed = card.output_tokens_per_s.get(tier)
        if not prices:
            tiers = list(dict.fromkeys(price.tier for price in card.prices))
            hint = nearest(tier, tiers) or f" (it prices {', '.join(tiers)})"
            raise ConfigError(f"{where}.tier = '{shown(tier)}' has no price in card {shown(row['card'])}{hint}")
    else:
        prices, speed = (Price(tier=tier, **row["usd_per_mtok"]),), None
    timed = {key: row.get(key) for key in ("ttft_s", "input_tokens_per_s", "output_tokens_per_s")}
    if "turnaround_s" in row:
        for key, value in timed.items():
            if value is not None:
                raise ConfigError(f"{where}: turnaround_s and {key} exclude each other: state the time one way")
    else:
        timed["output_tokens_per_s"] = timed["output_tokens_per_s"] or speed
        for key in ("ttft_s", "output_tokens_per_s"):
            if timed[key] is None:
                raise ConfigError(f"{where}.{key} is missing: give it, or turnaround_s where a batch has only that")
    return OfferFacts(
        id=row["id"],
        model=row["model"],
        tier=tier,
        quality=row["quality"],
        prices=prices,
        card=row.get("card"),
        **timed,
        turnaround_s=row.get("turnaround_s"),
        context_window_tokens=row.get("context_window_tokens"),
        output_ratio=row.get("output_ratio", 1.0),
    )


def _card(name: str, path: Path, where: str) -> CardFacts:
    """Load a card by id, or by its file's path, from the catalogue's folder or from here."""
    beside = path.parent / name
    try:
        return load_card(str(beside) if name.endswith((".toml", ".json")) and beside.is_file() else name)
    except ConfigError as error:
        raise ConfigError(f"{where}.card: {error}") from None

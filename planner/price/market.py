"""What public price cards charge, as ratios: the yardstick beside which a card is read."""

from collections.abc import Mapping
from functools import cache
from statistics import median
from typing import Any

import configs
from configs.cards import CardFacts, Price

RATIOS = {
    "output_to_input": "output over input",
    "cached_to_input": "cached input over input",
    "cache_write_5m_to_input": "write for 5 min over input",
    "cache_write_1h_to_input": "write for 1 h over input",
    "batch_to_standard": "batch over standard",
    "fast_to_standard": "fast over standard",
    "long_output_step": "long context, output",
    "long_input_step": "long context, input",
}
_FAST = ("fast", "priority")


def ratios(card: CardFacts) -> dict[str, float | None]:
    """Return the ratios of one card; None where it has no such price."""
    tiers: dict[str, list[Price]] = {}
    for price in card.prices:
        tiers.setdefault(price.tier, []).append(price)
    plain = tiers.get("standard") or next(iter(tiers.values()))
    fast = next((tiers[name][0] for name in _FAST if name in tiers), None)
    batch = tiers["batch"][0] if "batch" in tiers else None
    return over_standard(*(vars(x) if x else {} for x in (plain[0], plain[1:] and plain[-1], fast, batch)))


_Prices = Mapping[str, float | None]


def over_standard(base: _Prices, long: _Prices, fast: _Prices, batch: _Prices) -> dict[str, float | None]:
    """Return `RATIOS` of prices by kind of token: the standard tier's, those of its longest contexts, of the fast tier
    and of batch work, each empty where there are none."""

    def over(above: float | None, kind: str) -> float | None:
        below = base.get(kind)
        return None if above is None or below is None else above / below

    return {
        "output_to_input": over(base.get("output"), "input"),
        "cached_to_input": over(base.get("cached_input"), "input"),
        "cache_write_5m_to_input": over(base.get("cache_write_5m"), "input"),
        "cache_write_1h_to_input": over(base.get("cache_write_1h"), "input"),
        "batch_to_standard": over(batch.get("output"), "output"),
        "fast_to_standard": over(fast.get("output"), "output"),
        "long_output_step": over(long.get("output"), "output"),
        "long_input_step": over(long.get("input"), "input"),
    }


@cache
def market() -> Mapping[str, Mapping[str, Any]]:
    """Return median, lowest and highest of every ratio over the shipped cards, and how many have it."""
    found = [ratios(configs.load_card(name)) for name in configs.ids("cards")]
    out = {}
    for name in RATIOS:
        values = [value for one in found if (value := one[name]) is not None]
        out[name] = {"median": median(values), "low": min(values), "high": max(values), "cards": len(values)}
    return out

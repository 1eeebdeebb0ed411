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
    base, long = plain[0], plain[-1] if len(plain) > 1 else None
    fast = next((tiers[name][0] for name in _FAST if name in tiers), None)
    batch = tiers["batch"][0] if "batch" in tiers else None

    def over(above: float | None, below: float | None) -> float | None:
        return None if above is None or below is None else above / below

    return {
        "output_to_input": over(base.output, base.input),
        "cached_to_input": over(base.cached_input, base.input),
        "cache_write_5m_to_input": over(base.cache_write_5m, base.input),
        "cache_write_1h_to_input": over(base.cache_write_1h, base.input),
        "batch_to_standard": over(batch.output if batch else None, base.output),
        "fast_to_standard": over(fast.output if fast else None, base.output),
        "long_output_step": over(long.output if long else None, base.output),
        "long_input_step": over(long.input if long else None, base.input),
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

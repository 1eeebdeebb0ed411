"""What a card's cache prices say: what holding costs, and which memory would cost that."""

from math import log
from typing import Any

import numpy as np

import configs
from configs.cards import CardFacts

from ..estimate.question import Question
from ..price.lines import HOLDS_S

_HOUR = configs.HOUR_S


def caches(card: CardFacts, ln_kv: np.ndarray, question: Question, markup: float) -> dict[str, Any] | None:
    """Return what the card charges to hold a cached token, beside what each tier of memory would cost at ``markup``
    for the KV bytes deduced (draws of their logarithm); None for a card without cache writes.

    ``drains_like`` is the blackboard's rule: a provider holds for a time where reading all of a tier takes as long.
    ``priced_like`` is the tier whose cost is nearest to what an hour more is charged.
    """
    price = card.prices[0]
    written = {"5m": price.cache_write_5m, "1h": price.cache_write_1h}
    if all(usd is None for usd in written.values()):
        return None
    low, middle, high = np.exp(np.quantile(ln_kv, (0.05, 0.5, 0.95)))
    chip = question.chip
    tiers = {"hbm": (chip.hbm_bytes, chip.hbm_bytes / chip.hbm_bytes_per_s, question.usd_per_hour or 0.0)}
    for one in map(configs.load_storage, configs.USUAL_STORAGE):
        tiers[one.id] = (one.bytes, one.drain_s, one.usd_per_hour)
    rows = [
        {"tier": name, "drain_s": drain, **{f"{key}usd_per_mtok_per_hour": 1e6 * markup * kv / size * usd for key, kv in
                                            (("", middle), ("low_", low), ("high_", high))}}
        for name, (size, drain, usd) in tiers.items()
    ]  # fmt: skip
    over = {name: None if usd is None else usd - price.input for name, usd in written.items()}
    charged = None
    if price.cache_write_5m is not None and price.cache_write_1h is not None:
        charged = (price.cache_write_1h - price.cache_write_5m) / (HOLDS_S["1h"] - HOLDS_S["5m"]) * _HOUR
    elif over["5m"] is not None:
        charged = over["5m"] / HOLDS_S["5m"] * _HOUR
    like = None
    if charged is not None and charged > 0.0:
        like = min(rows, key=lambda row: abs(log(row["usd_per_mtok_per_hour"] / charged)))["tier"]
    drains = {
        name: min(tiers, key=lambda tier: abs(log(tiers[tier][1] / seconds)))
        for name, seconds in HOLDS_S.items()
        if written[name] is not None
    }
    return {
        "write_over_input_usd_per_mtok": over,
        "charged_usd_per_mtok_per_hour": charged,
        "tiers": rows,
        "priced_like": like,
        "drains_like": drains,
    }

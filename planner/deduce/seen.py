"""What a card shows: prices by tier and range of context, speeds, in the slots that the model has for them."""

from dataclasses import dataclass
from math import inf, log

import numpy as np

from configs.cards import CardFacts, Price

from ..price.answer import BEYOND
from .names import LINES, SLOTS

FAST = ("fast", "priority")
# Standard errors, in logarithms, of input price, output price and speed as the typical model behind `forward` tells
# them, against real models, layouts and replicas: 253 cards that `price` made of 83 public and many generic models on
# five chips, nine tenths of which lie within 1.645 times these.
MODEL_ERROR = {
    "dense": {"standard": (0.15, 0.10, 0.11), "long": (0.29, 0.50, inf), "fast": (0.33, 0.40, 0.23),
              "batch": (0.18, 0.17, inf)},
    "experts": {"standard": (0.52, 0.40, 0.43), "long": (0.59, 0.92, inf), "fast": (0.54, 0.45, 0.40),
                "batch": (0.56, 0.37, inf)},
}  # fmt: skip
_SHARED = 1.5  # times as large as if each line erred by itself: those of one card err together (found on these cards)


@dataclass(frozen=True)
class Seen:
    """Logarithms of prices in dollars per token and of tokens per second, [4, 3] by slot and line, NaN where the card
    says nothing; and where the second range of context begins and is taken to lie, in tokens."""

    lines: np.ndarray
    step_tokens: float | None
    long_tokens: float | None

    def weight(self, kind: str, noise: float) -> np.ndarray:
        """Return inverse standard errors for a ``kind`` of model, "dense" or "experts", 0 where nothing is seen;
        ``noise`` is how far prices stray from costs; speeds stray twice as far, for a step of speculation yields two
        tokens or so (1.7 to 2.6 in published runs)."""
        error = _SHARED * np.array([MODEL_ERROR[kind][slot] for slot in SLOTS])
        charged = np.array([noise, noise, 2.0 * noise])
        return np.where(np.isnan(self.lines), 0.0, 1.0 / np.hypot(error, charged))


def seen(card: CardFacts) -> Seen:
    """Return what ``card`` shows of the tiers standard, fast (or priority, where its speed is known) and batch."""
    out = np.full((len(SLOTS), len(LINES)), np.nan)
    tiers: dict[str, list[Price]] = {}
    for price in card.prices:
        tiers.setdefault(price.tier, []).append(price)
    name = "standard" if "standard" in tiers else next(iter(tiers))
    plain = tiers[name]
    speeds = card.output_tokens_per_s

    def note(slot: str, price: Price, speed: float | None = None) -> None:
        row = out[SLOTS.index(slot)]
        row[:2] = log(price.input * 1e-6), log(price.output * 1e-6)
        row[2] = np.nan if speed is None else log(speed)

    note("standard", plain[0], speeds.get(name))
    step = long = None
    if len(plain) > 1:
        step, end = plain[1].min_context_tokens, plain[1].max_context_tokens
        long = (step * (end if end < inf else BEYOND * step)) ** 0.5
        note("long", plain[1])
    fast = next((tier for tier in FAST if tier in tiers and tier in speeds), None)
    if fast is not None:
        note("fast", tiers[fast][0], speeds[fast])
    if "batch" in tiers:
        note("batch", tiers["batch"][0])
    return Seen(out, step, long)

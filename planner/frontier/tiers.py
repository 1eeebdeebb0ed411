"""Service tiers on the latency-cost curve: fast, standard and batch, each alone or on a fleet that they share."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..estimate.layouts import Split
from ..estimate.question import Question
from .curve import Points, Spot, points

READING_S = 0.2  # per token: MLPerf Inference v4.0, Llama 2 70B server, 2024-03, after a human reading speed
_NEIGHBOURS = 33  # whole batches timed at once between two of the curve
_STEP = 1.1  # from the last batch of the curve to beyond the next, where the time to first token hides that


@dataclass(frozen=True)
class Asked:
    """What tiers are asked for: the speed of fast over standard; peak over mean demand of both, who cannot wait; the
    share of fast in what cannot wait, and of batch in all output tokens, None for as much as the troughs hold."""

    fast_speedup: float
    peak_to_mean: float
    fast_share: float
    batch_share: float | None


@dataclass(frozen=True)
class Tier:
    """One tier: where it runs, and how much larger than its mean work a fleet of its own must be."""

    name: str
    spot: Spot
    spare: float

    def seconds(self, question: Question) -> dict[str, float]:
        """Return chip-seconds per "input" and "output" token and per "request", idle time of the own fleet included."""
        spot = self.spot
        found = {"input": spot.input_s, "output": spot.output_s, "request": float(_requests(question, spot))}
        return {name: self.spare * value for name, value in found.items()}


def tiers(question: Question, curve: Points, asked: Asked) -> list[Tier] | None:
    """Return fast, standard and batch; None where no point keeps the question's time per token.

    Standard is the cheapest point within that limit. Without one it is as fast as where a per cent more speed of passes
    that decode costs a per cent more money, the least product of their time and cost: where passes of B sequences take
    a + b B seconds that is B = a / b, the batch whose sequences share as much as each takes for itself; but no slower
    than people read, where that can be. Fast is the cheapest ``fast_speedup`` times as fast, or else the fastest there
    is; batch the cheapest of all, whose work waits, so that its fleet is never idle.
    """
    best = curve.pareto()
    limit = question.limits.get("tpot_s")
    if limit is not None and limit < best.tpot_s[0]:
        return None
    if limit is None:
        knee = float(curve.tpot_s[np.argmin(curve.pass_s * curve.output_s)])
        limit = max(min(knee, READING_S), float(best.tpot_s[0]))
    standard = within(question, curve, limit)
    fast = within(question, curve, max(standard.tpot_s / asked.fast_speedup, float(best.tpot_s[0])))
    return [
        Tier("fast", fast, asked.peak_to_mean),
        Tier("standard", standard, asked.peak_to_mean),
        Tier("batch", min(best.at(-1), standard, key=_cost), 1.0),
    ]


def within(question: Question, curve: Points, tpot_s: float) -> Spot:
    """Return the cheapest point of at most ``tpot_s``, to the whole batch: between two of the curve, on every replica
    that may be the cheapest, the last that keeps it is sought."""
    best = curve.pareto()
    found = [best.at(int(np.searchsorted(best.tpot_s, tpot_s, side="right")) - 1)]
    for i in np.unique(curve.split[curve.tpot_s <= tpot_s]):
        own = curve.pick(curve.split == i)
        low = float(own.batch[own.tpot_s <= tpot_s].max())
        most = float(curve.most[i])
        high = float(min(own.batch[own.batch > low], default=np.floor(min(most, _STEP * low)) + 1.0))
        if own.output_s[own.batch <= high].min() <= found[0].output_s:
            found += _between(question, curve.splits[i], low, high, tpot_s)
    return min(found, key=_cost)


def _between(question: Question, split: Split, low: float, high: float, tpot_s: float) -> list[Spot]:
    """Return points of at most ``tpot_s`` from batch ``low``, which keeps it, to the last below ``high`` that does."""
    found = []
    while high - low > 1.0:
        batches = np.unique(np.floor(np.linspace(low, high, _NEIGHBOURS)))
        near = points(question, [split], batches)
        near = near.pick(near.tpot_s <= tpot_s)
        found += [near.at(k) for k in range(len(near.batch))]
        low = float(near.batch.max(initial=low))
        high = float(min(batches[batches > low], default=low))
    return found


def _requests(question: Question, at: Points | Spot) -> np.ndarray:
    """Return chip-seconds of a whole request."""
    input_tokens, cached, output_tokens = question.lengths
    return np.asarray(max(input_tokens - cached, 1.0) * at.input_s + output_tokens * at.output_s)


def _cost(spot: Spot) -> float:
    return spot.output_s


def mix(question: Question, curve: Points, found: list[Tier], asked: Asked) -> dict[str, Any]:
    """Return what the tiers cost on one fleet, where batch work fills the troughs of what cannot wait.

    The fleet is sized for the peak of fast and standard. In its troughs batch runs on the standard tier's replicas, for
    nothing is loaded anew; what the troughs do not hold (all of it within a day, whatever the day's shape) runs beside
    them as batch alone would: each where a whole request is cheapest. A price of batch that nobody can complain of lies
    between what it adds to the fleet and what it would cost alone (Faulhaber 1975, American Economic Review 65(5),
    Cross-Subsidization); "proportional" shares the fleet by work, as far as that is not above. Multiples are of the
    standard tier alone, for whole requests.
    """
    fast, standard, batch = (tier.seconds(question)["request"] for tier in found)
    fast, standard = fast / found[0].spare, standard / found[1].spare
    replica = found[1].spot.split
    own = curve.pick(np.array([curve.splits[i] == replica for i in curve.split]))
    places = [(standard, found[1].spot.batch), *zip(_requests(question, own), own.batch, strict=True)]
    filling, filled = (float(x) for x in min(places))
    batch = float(min(filling, fast, batch, _requests(question, curve).min()))
    urgent = asked.fast_share * fast + (1.0 - asked.fast_share) * standard
    trough = (asked.peak_to_mean - 1.0) * urgent / filling  # batch requests that fit beside one that cannot wait
    share = trough / (1.0 + trough) if asked.batch_share is None else asked.batch_share
    held = min(share, (1.0 - share) * trough)
    peak, beside = (1.0 - share) * urgent * asked.peak_to_mean, (share - held) * batch
    fleet, work = peak + beside, (1.0 - share) * urgent + held * filling + beside
    alone = standard * asked.peak_to_mean
    least, each = (beside / share, (held * filling + beside) / share) if share > 0.0 else (0.0, filling)
    even = min(fleet / work * each, batch)  # who would pay more than alone would rather be alone
    multiples = {"least": least / alone, "proportional": even / alone, "most": batch / alone}
    rest = (fleet - share * even) / ((1.0 - share) * urgent * alone)  # what the others pay for their work
    return {
        "shares": {
            "fast": (1.0 - share) * asked.fast_share,
            "standard": (1.0 - share) * (1.0 - asked.fast_share),
            "batch": share,
        },
        "trough_share": trough / (1.0 + trough),
        "peak_to_mean": asked.peak_to_mean,
        "utilisation": work / fleet,
        "utilisation_without_batch": 1.0 / asked.peak_to_mean,
        "batch": {
            "batch": filled,
            "price_multiple": multiples,
            "discount": {k: 1.0 - v for k, v in multiples.items()},
        },
        "standard": {"price_multiple": rest * standard},
        "fast": {"price_multiple": rest * fast},
    }

"""The answer of price as the JSON document that `--json` prints, which deduce, assign and list read as a card."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import configs

from ..estimate.answer import described
from ..estimate.cost import price_basis
from ..estimate.point import Point, evaluate
from ..estimate.question import Question
from ..estimate.trust import interval, warnings
from ..frontier.curve import considered, curve, holds
from ..frontier.limits import balanced_context
from ..frontier.refusal import refused
from ..frontier.tiers import Asked as Tiers
from ..frontier.tiers import Tier, tiers
from .cache import Keeping, kv_bytes_per_token, reigns
from .lines import Line, lines
from .market import market, over_standard

BEYOND = 5.0  # times the last step: where a range without an end is taken to end (200k to 1M, as on public cards)


@dataclass(frozen=True)
class Asked:
    """What a card is asked for: tiers, the ``margin`` on price, where ``steps`` of context begin, all beyond what its
    requests hold, and the kinds of ``storage`` that caches may be kept in."""

    tiers: Tiers
    margin: float
    steps: tuple[float, ...]
    storage: tuple[str, ...]


def price(question: Question, asked: Asked, sized: bool = False) -> dict[str, Any]:
    """Return the document that `price --json` prints; ``status`` is "infeasible" where `frontier` would be."""
    question, found = considered(question, sized)
    chosen = tiers(question, found, asked.tiers) if len(found.batch) else None
    out = described(question, "price/1")
    if chosen is None:
        return out | refused(question, found)
    rows = [(tier, evaluate(question, tier.spot.split, tier.spot.batch)) for tier in chosen]
    cards = {tier.name: lines(question, point, tier.spare, asked.storage) for tier, point in rows}
    (tier, point), (made, ways) = rows[1], cards["standard"]
    steps, unreached = _steps(question, asked, made)
    usd = usd_per_mtok(made, asked.margin)
    document = {
        "usd_per_mtok": usd,
        "lines": [_line(line, asked.margin) for line in made],
        "tokens_per_s_per_user": 1.0 / tier.spot.tpot_s,
        "ttft_s": tier.spot.ttft_s,
        "margin_fraction": asked.margin,
        "peak_to_mean": asked.tiers.peak_to_mean,
        "replica": {"chips": tier.spot.split.chips, **tier.spot.split._asdict(), "batch": tier.spot.batch},
        "context_steps": steps,
        "tiers": [_tier(tier, chosen[1], cards[tier.name][0], made, asked.margin) for tier in chosen],
        "cache_tiers": _keeping(ways),
        "kv_bytes_per_token": kv_bytes_per_token(question),
        "balanced_context_tokens": balanced_context(question, point),
        "price_basis": price_basis(question),
        "interval": _interval(question, point),
    }
    long = steps[-1]["usd_per_mtok"] if len(steps) > 1 else {}
    fast, _, batch = (row["usd_per_mtok"] for row in document["tiers"])
    document["ratios"] = over_standard(usd, long, fast, batch)
    return out | document | {"market": dict(market()), "warnings": warnings(question, point) + unreached}


def usd_per_mtok(made: Sequence[Line], margin: float) -> dict[str, float]:
    """Return the price of every line: its cost over what the margin leaves."""
    return {line.name: line.cost / (1.0 - margin) for line in made}


def _interval(question: Question, point: Point) -> dict[str, Any]:
    """Return the 90 % interval of cost over what is told: that of the replica's throughput, upside down."""
    band, told = interval(question, point), point.at("output_tokens_per_s")
    low, high = band["output_tokens_per_s"]
    return {"coverage": band["coverage"], "cost_ratio": [told / high, told / low], "basis": band["basis"]}


def _line(line: Line, margin: float) -> dict[str, Any]:
    return {
        "name": line.name,
        "usd_per_mtok": line.cost / (1.0 - margin),
        "cost_usd_per_mtok": line.cost,
        "margin_usd_per_mtok": line.cost * margin / (1.0 - margin),
        "parts_usd_per_mtok": line.parts,
    }


def _tier(tier: Tier, standard: Tier, made: Sequence[Line], base: Sequence[Line], margin: float) -> dict[str, Any]:
    usd, own = usd_per_mtok(made, margin), usd_per_mtok(base, margin)
    return {
        "name": tier.name,
        "speedup": standard.spot.tpot_s / tier.spot.tpot_s,
        "price_multiple": usd["output"] / own["output"],
        "batch": tier.spot.batch,
        "chips": tier.spot.split.chips,
        "tokens_per_s_per_user": 1.0 / tier.spot.tpot_s,
        "usd_per_mtok": usd,
    }


def _steps(question: Question, asked: Asked, made: Sequence[Line]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return prices by range of context, and a sentence on every range that cannot be served.

    The first range has the card's own prices. Later ones are priced at their geometric mean, on the curve and at the
    standard tier of requests so long: prompts of all but the answer.
    """
    if not asked.steps:
        return [], []
    ends = (*asked.steps[1:], None)
    base = {
        "min_context_tokens": 0.0,
        "max_context_tokens": asked.steps[0],
        "context_tokens": sum(question.lengths[::2]),
    }
    rows, notes = [base | {"usd_per_mtok": usd_per_mtok(made, asked.margin)}], []
    for low, high in zip(asked.steps, ends, strict=True):
        context = (low * (high or BEYOND * low)) ** 0.5
        found = _at(question, asked, context)
        if isinstance(found, str):
            notes.append(f"{found} requests of {context:,.0f} tokens: no price from {low:,.0f} on.")
            break
        usd = usd_per_mtok(found, asked.margin)
        rows.append(
            {"min_context_tokens": low, "max_context_tokens": high, "context_tokens": context, "usd_per_mtok": usd}
        )
    return rows, notes


def _at(question: Question, asked: Asked, context: float) -> list[Line] | str:
    """Return the standard tier's lines for requests of ``context`` tokens; where none runs, why not.

    Prompts so long are taken to run on replicas of their own: all others would wait for them.
    """
    _, _, output_tokens = question.lengths
    long = replace(question, lengths=(context - output_tokens, 0.0, output_tokens), disaggregated=True)
    found = curve(long)
    chosen = tiers(long, found, asked.tiers) if len(found.batch) else None
    if chosen is None:
        limit = "--tpot-ms" if len(found.batch) else "--ttft-ms"
        return f"no replica considered keeps {limit} with" if holds(found) else "no replica considered holds"
    spot = chosen[1].spot
    made, _ = lines(long, evaluate(long, spot.split, spot.batch), chosen[1].spare, asked.storage)
    return made


def _keeping(ways: Sequence[Keeping]) -> list[dict[str, Any]]:
    """Return every way of having a cache again, and for how long holding each is the cheapest."""
    best = {way: (start, end) for way, start, end in reigns(ways)}
    out = []
    for way in ways:
        start, end = best.get(way, (None, None))
        out.append({
            "tier": way.tier,
            "name": way.name,
            "retrieve_usd_per_mtok": 1e6 * way.retrieve_usd,
            "hold_usd_per_mtok_per_hour": 1e6 * configs.HOUR_S * way.hold_usd_per_s,
            "drain_s": way.drain_s,
            "cheapest_from_s": start,
            "cheapest_to_s": None if end == float("inf") else end,
        })  # fmt: skip
    return out

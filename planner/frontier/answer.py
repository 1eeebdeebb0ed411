"""The answer of frontier as the JSON document that `--json` prints."""

from typing import Any

from ..estimate.answer import described
from ..estimate.cost import price_basis, usd_per_mtok
from ..estimate.point import Point, evaluate
from ..estimate.question import Question
from ..estimate.trust import interval, warnings
from .curve import Spot, considered
from .limits import limits
from .refusal import refused
from .tiers import Asked, Tier, mix, tiers

_ENOUGH = 0.999  # of the speed-up asked for: what whole sequences allow
_SAME = 1e-3  # two costs no further apart are told as one


def frontier(question: Question, asked: Asked, sized: bool = False) -> dict[str, Any]:
    """Return the document that `frontier --json` prints; ``status`` is "infeasible" where nothing runs, or not as
    fast as was asked."""
    question, found = considered(question, sized)
    out = described(question, "frontier/1")
    chosen = tiers(question, found, asked) if len(found.batch) else None
    if chosen is None:
        return out | refused(question, found)
    best = found.pareto()
    standard = chosen[1].spot
    point = evaluate(question, standard.split, standard.batch)
    return out | {
        "points": [row(question, best.at(i)) for i in range(len(best.batch))],
        "tiers": [tier_row(question, tier, chosen[1]) for tier in chosen],
        "mix": mix(question, found, chosen, asked),
        "limits": limits(question, best, point),
        "schedule": _schedule(question, point, standard),
        "smallest_efficient": _smallest(question, standard),
        "interval": _interval(question, point, standard),
        "price_basis": price_basis(question),
        "layouts_tried": len(question.splits),
        "warnings": warnings(question, point) + _notes(question, chosen, asked),
    }


def row(question: Question, spot: Spot) -> dict[str, Any]:
    """Return one point of the curve."""
    return {
        "batch": spot.batch,
        "chips": spot.split.chips,
        **spot.split._asdict(),
        "tpot_s": spot.tpot_s,
        "ttft_s": spot.ttft_s,
        "tokens_per_s_per_user": 1.0 / spot.tpot_s,
        "output_tokens_per_s_per_chip": spot.output_tokens_per_s / spot.split.chips,
        "chip_s_per_output_token": spot.output_s,
        "usd_per_mtok_output": usd_per_mtok(question, spot.output_s),
        "usd_per_mtok_input": usd_per_mtok(question, spot.input_s),
    }


def tier_row(question: Question, tier: Tier, standard: Tier) -> dict[str, Any]:
    """Return a tier beside the standard one: multiples of its speed and prices, idle time of each own fleet included.

    ``worth_above_usd_per_hour``: what an hour of waiting must cost for the faster of the two to be the cheaper; None
    where none costs more and takes less.
    """
    own, other = tier.seconds(question), standard.seconds(question)
    paid = usd_per_mtok(question, own["request"] - other["request"])
    waited = question.lengths[2] * (standard.spot.tpot_s - tier.spot.tpot_s) + standard.spot.ttft_s - tier.spot.ttft_s
    worth = None if paid is None or paid * waited <= 0.0 else 3600.0 * 1e-6 * paid / waited
    return {
        "name": tier.name,
        "speedup": standard.spot.tpot_s / tier.spot.tpot_s,
        "price_multiple": own["output"] / other["output"],
        "input_price_multiple": own["input"] / other["input"],
        "request_price_multiple": own["request"] / other["request"],
        "worth_above_usd_per_hour": worth,
        **row(question, tier.spot),
        "usd_per_mtok": {name: usd_per_mtok(question, own[name]) for name in ("input", "output")},
    }


def _schedule(question: Question, point: Point, standard: Spot) -> dict[str, float]:
    """Return when passes leave: one who just misses a pass waits for the next, and has its token after one more.

    Stages of a pipeline lead a pass each.
    """
    step_s = standard.pass_s * point.tokens_per_step if question.disaggregated else point.at("step_s")
    every = step_s / point.split.pp
    return {"interval_s": every, "worst_wait_s": every, "worst_latency_s": every + step_s}


def _interval(question: Question, point: Point, standard: Spot) -> dict[str, Any]:
    """Return the standard tier's interval: in proportion where prompts on chips of their own make it faster."""
    out = interval(question, point)
    out["tpot_s"] = [x * standard.tpot_s / point.at("tpot_s") for x in out["tpot_s"]]
    return out


def _smallest(question: Question, spot: Spot) -> dict[str, Any]:
    """Return the least traffic that fills one replica at the standard tier: less makes every token dearer."""
    usd = question.usd_per_hour
    return {
        "batch": spot.batch,
        "chips": spot.split.chips,
        "output_tokens_per_s": spot.output_tokens_per_s,
        "requests_per_s": spot.output_tokens_per_s / question.lengths[2],
        "usd_per_hour": None if usd is None else usd * spot.split.chips,
    }


def _notes(question: Question, chosen: list[Tier], asked: Asked) -> list[str]:
    fast, standard, batch = chosen
    out = []
    reached = standard.spot.tpot_s / fast.spot.tpot_s
    if reached < _ENOUGH * asked.fast_speedup:
        out.append(
            f"nothing is {asked.fast_speedup:g} times as fast as the standard tier: the fast one is the fastest there "
            f"is, {reached:.3g} times."
        )
    requests = [tier.seconds(question)["request"] for tier in chosen]
    for slow, quick, ratio in (
        (standard, fast, requests[1] / requests[0]),
        (batch, standard, requests[2] / requests[1]),
    ):
        if ratio > 1.0 + _SAME:
            out.append(
                f"output is cheaper in the {slow.name} tier but prompts are not: a whole request costs {ratio:.3g} "
                f"times what it does in the {quick.name} tier."
            )
    return out

"""What tokens take in joules, by cause: arithmetic, movement of bytes, and the passing of time."""

from math import ceil, log2
from typing import Any

import configs

from .point import Point, evaluate
from .question import Question

# Those of `hw.energy.Joules`, and what boards draw between passes where there is less than one sequence for each stage.
CAUSES = ("arithmetic", "overhead", "hbm", "hbm_overhead", "sram", "link", "scale_out", "static", "idle")
_BASIS = {
    "measured": "decoding as measured on chips of this generation",
    "assumed": "decoding assumed to be as measured on H100 and B200",
    "none": "circuits and board power alone",
}
_OFF_BOARD = ("link", "scale_out")  # the boards' power does not pay for these, see `hw.energy.Joules.on_board`

Causes = dict[str, float]


def energy(question: Question, point: Point, full: Point, usd_per_request: float | None) -> dict[str, Any]:
    """Return joules per token by cause, how batching spreads them, watts, and what they cost and emit.

    A token pays for the passes that compute it, as in `cost.chip_seconds`: output tokens for passes that decode only,
    new input tokens for what their prompt adds to the passes that it shares (reading what was cached included). So
    the parts of a request add up to its share of what the replica draws. ``full`` is the point of the largest batch,
    ``usd_per_request`` what the chips' rent comes to (None: unknown).

    Of 37 served loads of nine models on H100 and B200 (github.com/ml-energy/leaderboard, version 3.0, vLLM), joules
    per token came out within 6 % (median; 14 % at the 90th percentile), times as predicted. One number was fitted to
    them, `hw.energy.Energy.overhead_joules_per_hbm_byte`; without it all were a third too low.
    """
    input_tokens, cached, output_tokens = question.lengths
    tokens = {"input": max(input_tokens - cached, 1.0), "output": output_tokens}
    served = requests_per_s(question, point)
    told = by_token(question, point, served)
    per_token = {kind: sum(parts.values()) for kind, parts in told.items()}
    request = {cause: sum(tokens[kind] * told[kind][cause] for kind in tokens) for cause in CAUSES}
    total = sum(request.values())
    rate = served / point.split.chips
    on_board = rate * sum(joules for cause, joules in request.items() if cause not in _OFF_BOARD)
    meter, facts = question.meter, _facts(question)
    idle_w = facts.constants["idle_fraction"] * question.chip.power_w
    grams = None if meter.co2_g_per_kwh is None else {k: meter.grams_co2(1e6 * v) for k, v in per_token.items()}
    return {
        "joules_per_token": told,
        "joules_per_request": total,
        "watts_per_chip": rate * total,
        "board_power_fraction": on_board / question.chip.power_w,
        "idle_watts_per_chip": idle_w,
        "amortisation": _amortisation(question, full),
        "pue": meter.pue,
        "server_ratio": meter.server_ratio,
        "usd_per_kwh": meter.usd_per_kwh,
        "co2_g_per_kwh": meter.co2_g_per_kwh,
        "basis": {"joules": _BASIS[facts.basis], **meter.basis},
        "usd_per_mtok": {kind: meter.usd(1e6 * joules) for kind, joules in per_token.items()},
        "usd_per_request": meter.usd(total),
        "price_fraction": None if usd_per_request is None else meter.usd(total) / usd_per_request,
        "idle_usd_per_chip_hour": meter.usd(configs.HOUR_S * idle_w),
        "grams_co2_per_mtok": grams,
        "grams_co2_per_request": meter.grams_co2(total),
    }


def requests_per_s(question: Question, point: Point) -> float:
    """Return requests finished per second: those that arrive, where a rate is given."""
    return question.amount if question.load == "rate" else point.at("output_tokens_per_s") / question.lengths[2]


def by_token(question: Question, point: Point, requests_per_s: float) -> dict[str, Causes]:
    """Return joules per new input and per output token by cause, with ``requests_per_s`` served at the point's batch.

    A stage of a pipeline that has less than one sequence to work on, on average, works on one and idles in between:
    each token bears that in proportion to its time.
    """
    working = _working(question, point)
    told, share = working.told, float(working.told["share"][0])
    input_tokens, cached, output_tokens = question.lengths
    new = float(told["together"][0]) * max(input_tokens - cached, 1.0)
    each = working.batch / working.split.pp * working.tokens_per_step
    out: dict[str, Causes] = {"input": {}, "output": {}}
    for cause in CAUSES[:-1]:
        plain, mixed = (float(told[kind]["joules"][cause][0]) for kind in ("plain", "mixed"))
        # Where more rows make a kernel quicker, a pass with prompts can take less time: the gain is the output's.
        out["input"][cause] = max(mixed - plain, 0.0) / new
        out["output"][cause] = (plain + share * min(mixed - plain, 0.0)) / each
    constants = _facts(question).constants
    idle = constants["idle_fraction"] / (constants["idle_fraction"] + constants["busy_fraction"])
    busy = requests_per_s * output_tokens / working.at("output_tokens_per_s") if working is not point else 1.0
    for parts in out.values():
        parts["idle"] = parts["static"] * idle * max(1.0 / busy - 1.0, 0.0)
    return out


def _working(question: Question, point: Point) -> Point:
    """Return the point, or that of one sequence per stage where its stages do not always have one."""
    least = float(point.split.pp)
    return point if point.batch >= least else evaluate(question, point.split, least)


def _amortisation(question: Question, full: Point) -> list[dict[str, Any]]:
    """Return joules per output token by cause, from one sequence to the largest batch by octaves."""
    below = [2.0**i for i in range(ceil(log2(full.batch)))]
    points = [*(evaluate(question, full.split, batch) for batch in below), full]
    rates = (one.at("output_tokens_per_s") / question.lengths[2] for one in points)
    return [
        {"batch": one.batch, "joules_per_token": by_token(question, one, rate)["output"]}
        for one, rate in zip(points, rates, strict=True)
    ]


def doubts(question: Question, point: Point) -> list[str]:
    """Return sentences on what the joules leave out, and on a step that asks more of a board than it may draw."""
    working = _working(question, point)
    told, share = working.told, float(working.told["share"][0])
    powered = sum(w * float(told[kind]["powered_s"][0]) for w, kind in ((1.0 - share, "plain"), (share, "mixed")))
    slower = powered / working.at("step_s") - 1.0
    out = []
    if _facts(question).basis == "none":
        out.append(
            f"power while decoding was never measured on {question.chip.id}: it may be up to twice what is said."
        )
    if slower > 0.0:
        out.append(
            f"the work of a step asks more than {question.chip.power_w:g} W of a board in the time that it is said to "
            f"take: the chip would slow down, by about {100 * slower:.0f} %."
        )
    return out


def _facts(question: Question) -> configs.EnergyFacts:
    return configs.load_energy(question.chip.energy)

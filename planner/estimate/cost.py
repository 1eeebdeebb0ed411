"""What tokens cost: dollars per input, cached input and output token."""

from typing import Any

import numpy as np

import configs

from .point import Point, evaluate
from .question import Question


def prices(question: Question, point: Point) -> dict[str, Any]:
    """Return dollars per million tokens and per hour; `chip_seconds` says who pays."""
    seconds = chip_seconds(question, point)
    input_tokens, cached, output_tokens = question.lengths
    usd = question.usd_per_hour
    per_s = None if usd is None else usd / 3600.0
    request = (
        (input_tokens - cached) * seconds["input"]
        + cached * seconds["cached_input"]
        + output_tokens * seconds["output"]
    )
    return {
        "usd_per_mtok": {k: None if per_s is None else 1e6 * per_s * v for k, v in seconds.items()},
        "usd_per_hour": None if usd is None else usd * point.split.chips,
        "usd_per_request": None if per_s is None else per_s * request,
        "price_basis": price_basis(question),
    }


def chip_seconds(question: Question, point: Point) -> dict[str, float]:
    """Return chip-seconds per input, cached input and output token: a token pays for the passes that compute it.

    Output tokens pay for passes that decode only, and so for reading the cache of all that was said before; new input
    tokens for what their prompt adds to the passes that it shares; cached ones for being attended to by the new ones
    (keeping them, between requests, is not in here: see `planner.price`). The parts of a request add up to its share
    of the replica. Where nothing is cached, a cached token is told for a prompt half of which was.
    """
    input_tokens, cached, output_tokens = question.lengths
    hit = cached or 0.5 * input_tokens
    fresh = max(input_tokens - hit, 1.0)
    alone = prompt_chip_seconds(evaluate(question, point.split, point.batch, (fresh, 0.0, output_tokens)))
    other = point if cached else evaluate(question, point.split, point.batch, (input_tokens, hit, output_tokens))
    after = prompt_chip_seconds(other)
    return {
        "input": alone / fresh if cached else prompt_chip_seconds(point) / input_tokens,
        "cached_input": max(after - alone, 0.0) / hit,
        "output": float(decode_chip_seconds(point)[0]),
    }


def decode_chip_seconds(point: Point) -> np.ndarray:
    """Return chip-seconds per output token of passes that decode only, at the point's batch and along its curve."""
    batches = np.concatenate([[point.batch], point.curve["batches"]])
    return point.split.chips * pass_s(point, "plain") / (batches * point.tokens_per_step)


def output_usd_per_mtok(question: Question, point: Point) -> list[float] | None:
    """Return dollars per million output tokens at the point's batch and along its curve; None without a price."""
    rate = usd_per_mtok(question, 1.0)
    return None if rate is None else [rate * float(x) for x in decode_chip_seconds(point)]


def usd_per_mtok(question: Question, chip_seconds: float) -> float | None:
    """Return dollars per million tokens of ``chip_seconds`` each; None where the chip has no price."""
    return None if question.usd_per_hour is None else 1e6 * question.usd_per_hour / configs.HOUR_S * chip_seconds


def prompt_chip_seconds(point: Point) -> float:
    """Return the chip-seconds that one prompt adds to the passes that it shares."""
    added = float(pass_s(point, "mixed")[0] - pass_s(point, "plain")[0])
    return point.split.chips / point.split.pp * added / float(point.told["together"][0])


def pass_s(point: Point, kind: str) -> np.ndarray:
    """Return the seconds of a "plain" or "mixed" pass at the point's batch and along its curve."""
    return sum((np.asarray(values) for values in point.told[kind]["seconds"].values()), np.zeros(()))


def price_basis(question: Question) -> str:
    """Return where the chip's price is from."""
    if question.price_given:
        return "given"
    price = question.chip.tables.get("price")
    if price is None:
        return f"{question.chip.id} has no rental price: give --chip-usd-per-hour"
    words = [price["mode"], price.get("provider", ""), price.get("source", ""), price.get("date", "")]
    return ", ".join(word for word in words if word)

"""What tokens cost: dollars and joules per input, cached input and output token."""

from typing import Any

from .point import Point, evaluate
from .question import Question


def prices(question: Question, point: Point) -> dict[str, Any]:
    """Return dollars per million tokens, dollars per hour and joules per token.

    A request's chip-seconds are shared out by what they would be without its parts: output tokens cost what a
    request of one prompt token costs; new input what the rest of the prompt adds to that; cached input what the
    cached part adds on top. So the parts add up, and a prompt pays for its own pass, for every decoded token that
    reads it, and for the sequences that its cache keeps out. Where nothing is cached, the price is that of a prompt
    half of which were.
    """
    input_tokens, cached, output_tokens = question.lengths
    hit = cached or 0.5 * input_tokens
    whole, hit_point = _request(question, point, (input_tokens, hit, output_tokens))
    fresh, _ = _request(question, point, (max(input_tokens - hit, 1.0), 0.0, output_tokens))
    bare, _ = _request(question, point, (1.0, 0.0, output_tokens))
    missed, missed_point = (fresh, hit_point) if cached else _request(question, point, question.lengths)
    new_tokens = max(input_tokens - cached, 1.0)
    seconds = {
        "input": max(missed - bare, 0.0) / new_tokens,
        "cached_input": max(whole - fresh, 0.0) / hit,
        "output": bare / output_tokens,
    }
    usd = question.usd_per_hour
    per_s = None if usd is None else usd / 3600.0
    return {
        "usd_per_mtok": {k: None if per_s is None else 1e6 * per_s * v for k, v in seconds.items()},
        "usd_per_hour": None if usd is None else usd * point.split.chips,
        "usd_per_request": None if per_s is None else per_s * _chip_seconds(question, point),
        "price_basis": _price_basis(question),
        "joules_per_token": _joules(question, missed_point if cached == 0.0 else point),
    }


def _chip_seconds(question: Question, point: Point) -> float:
    return point.split.chips * question.lengths[2] / point.at("output_tokens_per_s")


def _request(question: Question, point: Point, lengths: tuple[float, float, float]) -> tuple[float, Point]:
    """Return chip-seconds of a request of ``lengths``: at the point's batch, or at all that then fit if it was full."""
    other = evaluate(question, point.split, point.batch, lengths)
    full = question.load == "saturated" and not question.limits
    batch = other.cap if full else min(point.batch, other.cap)
    if batch != other.batch:
        other = evaluate(question, point.split, batch, lengths)
    return point.split.chips * lengths[2] / other.at("output_tokens_per_s"), other


def _joules(question: Question, point: Point) -> dict[str, float]:
    """Return joules per output token (of passes that decode only) and per new input token (what prompts add)."""
    told = point.told
    plain, mixed = float(told["plain"]["joules"][0]), float(told["mixed"]["joules"][0])
    per_step = question.speculation[1] if question.speculation else 1.0
    micro = point.batch / point.split.pp
    input_tokens, cached, _ = question.lengths
    new = max(input_tokens - cached, 1.0) * float(told["together"][0])
    return {"input": max(mixed - plain, 0.0) / new, "output": plain / (micro * per_step)}


def _price_basis(question: Question) -> str:
    if question.price_given:
        return "given"
    price = question.chip.tables.get("price")
    if price is None:
        return f"{question.chip.id} has no rental price: give --chip-usd-per-hour"
    words = [price["mode"], price.get("provider", ""), price.get("source", ""), price.get("date", "")]
    return ", ".join(word for word in words if word)

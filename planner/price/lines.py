"""The lines of a price card: what each kind of token costs at one operating point, and what takes the money."""

from collections.abc import Sequence
from dataclasses import dataclass

import configs

from ..estimate.cost import decode_chip_seconds, prompt_chip_seconds
from ..estimate.parts import causes
from ..estimate.point import Point, evaluate
from ..estimate.question import Question
from .cache import Keeping, cheapest, keepings

HOLDS_S = {"5m": 300.0, "1h": 3600.0}
CAUSES = ("memory", "compute", "network", "overhead", "idle", "storage")
KINDS = ("input", "cached_input", "cache_write_5m", "cache_write_1h", "output")
_MILLION = 1e6


@dataclass(frozen=True)
class Line:
    """One line: US dollars per million tokens by cause, without margin; the parts add up to the cost."""

    name: str
    parts: dict[str, float]

    @property
    def cost(self) -> float:
        """The sum of the parts."""
        return sum(self.parts.values())


def lines(question: Question, point: Point, spare: float, storage: Sequence[str]) -> tuple[list[Line], list[Keeping]]:
    """Return the card's lines at ``point`` on a fleet ``spare`` times as large as its mean work, and how caches keep.

    Input pays for what prompts add to passes, output for passes that decode only, and so for reading the cache. A
    cached token pays for being attended to by the new tokens of its prompt and for being fetched, from where it keeps
    cheapest for five minutes or an hour, whichever is dearer; a written one for being computed, stored and held.
    """
    rate = (question.usd_per_hour or 0.0) / configs.HOUR_S * _MILLION
    input_tokens, cached, output_tokens = question.lengths
    hit = cached or 0.5 * input_tokens
    fresh = max(input_tokens - hit, 1.0)
    alone = evaluate(question, point.split, point.batch, (fresh, 0.0, output_tokens))
    after = evaluate(question, point.split, point.batch, (input_tokens, hit, output_tokens))
    whole = alone if cached else point
    new = fresh if cached else input_tokens
    chip = {
        "input": _shared(causes(question, whole, "added"), prompt_chip_seconds(whole) / new),
        "output": _shared(causes(question, point, "plain"), float(decode_chip_seconds(point)[0])),
    }
    attended = max(prompt_chip_seconds(after) - prompt_chip_seconds(alone), 0.0) / hit
    chip["cached_input"] = {"compute": attended}

    def line(name: str, whose: str, stored_usd: float) -> Line:
        parts = {cause: rate * chip[whose].get(cause, 0.0) for cause in CAUSES}
        parts["idle"] = (spare - 1.0) * sum(parts.values())
        parts["storage"] = _MILLION * stored_usd
        return Line(name, parts)

    made = line("input", "input", 0.0)
    ways = keepings(question, made.cost / _MILLION, storage)
    kept = {name: cheapest(ways[1:], seconds) for name, seconds in HOLDS_S.items()}
    fetched = max(way.retrieve_usd for way in kept.values())
    written = [
        line(f"cache_write_{name}", "input", way.store_usd + HOLDS_S[name] * way.hold_usd_per_s)
        for name, way in kept.items()
    ]
    return [made, line("cached_input", "cached_input", fetched), *written, line("output", "output", 0.0)], ways


def _shared(causes: dict[str, float], chip_seconds: float) -> dict[str, float]:
    """Return ``chip_seconds`` shared out in proportion to the seconds of each cause."""
    whole = sum(causes.values())
    if whole <= 0.0:  # so little that tiles hide it
        return {"overhead": chip_seconds}
    return {name: chip_seconds * value / whole for name, value in causes.items()}

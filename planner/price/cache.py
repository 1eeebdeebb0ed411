"""Keeping a prompt's cache: what a token costs to hold and to fetch back, tier by tier of memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import configs

from ..estimate.question import Question
from ..serving.formats import KV_BYTES
from ..serving.work import STATE_BYTES


@dataclass(frozen=True)
class Keeping:
    """One way to have a token's cache again: US dollars per token to fetch it, and per token and second to hold it.

    ``store_usd`` is paid once when it is put away. ``drain_s`` is the time to read the whole tier once: for so long,
    holding costs as much as fetching. Computing the prompt anew (``tier`` "compute") holds nothing and has none.
    """

    tier: str
    name: str
    retrieve_usd: float
    hold_usd_per_s: float
    store_usd: float
    drain_s: float | None

    def usd(self, seconds: float) -> float:
        """Return dollars per token that is stored, held for ``seconds`` and fetched once."""
        return self.store_usd + seconds * self.hold_usd_per_s + self.retrieve_usd


def kv_bytes_per_token(question: Question) -> float:
    """Return bytes that a prompt's cache weighs per token of it: windows and recurrent states hold less, or no more."""
    tokens, model = question.lengths[0], question.model
    cached = configs.kv_elements(model, tokens) * KV_BYTES[question.recipe.kv]
    return (cached + configs.state_elements(model) * STATE_BYTES) / tokens


def keepings(question: Question, input_usd: float, storage: Sequence[str]) -> list[Keeping]:
    """Return every way there is: computing anew at ``input_usd`` a token, HBM, and the kinds of ``storage``.

    A token takes kv / capacity of its tier's rent while it is held, and kv / bandwidth of the tier's time to be put
    there and to be fetched; HBM is where it is used, so fetching from there costs nothing.

    Raises:
        configs.ConfigError: an unknown kind of storage.
    """
    kv, chip = kv_bytes_per_token(question), question.chip
    rent = (question.usd_per_hour or 0.0) / configs.HOUR_S
    out = [
        Keeping("compute", "computed anew", input_usd, 0.0, 0.0, None),
        Keeping("hbm", "HBM", 0.0, kv / chip.hbm_bytes * rent, 0.0, chip.hbm_bytes / chip.hbm_bytes_per_s),
    ]
    for one in map(configs.load_storage, storage):
        rate = one.usd_per_hour / configs.HOUR_S
        moved = kv / one.bytes_per_s * rate
        out.append(Keeping(one.id, one.name, moved, kv / one.bytes * rate, moved, one.drain_s))
    return out


def cheapest(ways: Sequence[Keeping], seconds: float) -> Keeping:
    """Return the way to have a cache again after ``seconds`` at the least cost."""
    return min(ways, key=lambda way: way.usd(seconds))


def reigns(ways: Sequence[Keeping]) -> list[tuple[Keeping, float, float]]:
    """Return who is cheapest from when to when, in seconds of holding: the lower edge of the lines cost = a + b t."""
    out, now, here = [], 0.0, cheapest(ways, 0.0)
    while True:
        later = [
            ((way.usd(0.0) - here.usd(0.0)) / (here.hold_usd_per_s - way.hold_usd_per_s), way)
            for way in ways
            if way.hold_usd_per_s < here.hold_usd_per_s
        ]
        end, heir = min(later, key=lambda pair: (pair[0], pair[1].hold_usd_per_s), default=(float("inf"), here))
        if end > now:
            out.append((here, now, end))
        if heir is here:
            return out
        now, here = max(end, now), heir

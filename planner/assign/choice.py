"""The cheapest offer that keeps each task's promises, what each promise costs, and where none keeps them.

Tasks do not compete: no offer has a limit of its own, so the cheapest mix is each task's cheapest offer, exactly.
A request costs its tokens, and its latency times what an hour of waiting is worth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import inf

import numpy as np
from jaxtyping import Bool, Float, Int

from configs import HOUR_S
from configs.offers import OfferFacts

from .grid import Grid, grid, latency_s
from .question import Question

LIMITS = ("", "quality", "context", "deadline")  # what breaks, by number; 0 for nothing
REASONS = ("quality", "context", "deadline", "cost")  # why a task is on the best model, by number
_CELLS = 2**18  # of tasks times offers at once: their arrays stay in a core's cache
_SAME = 1.0 + 1e-9  # costs no further apart than rounding are one cost


@dataclass(frozen=True)
class Chosen:
    """What n tasks take, per request: US dollars, seconds, and offers by number.

    ``offer`` is -1 where none keeps the promises, and what goes with it is then NaN. ``total_usd`` = ``paid_usd`` for
    tokens + what waiting costs; ``rival_usd`` is the total on the cheapest other offer (inf: none). What the total
    would be with one promise dropped: ``no_deadline_usd``, ``lower_quality_usd`` (one level of the offers down) and
    ``any_quality_usd``; ``patient_usd`` is what tokens would cost if waiting cost nothing. ``habit_usd`` is the total
    on the habit, ``habit_limit`` which promise that breaks (`LIMITS`). ``reason`` says why no other model than the best
    one is taken (`REASONS`). Of tasks without an offer, ``limit`` names what stands in the way, ``nearest_deadline_s``
    is the shortest deadline at their quality, ``nearest_quality`` the highest at their deadline (NaN: none would do).
    ``break_even_usd_per_hour`` is what an hour must be worth for the faster of each two tiers (`pairs`) to pay.
    """

    offer: Int[np.ndarray, " n"]
    paid_usd: Float[np.ndarray, " n"]
    latency_s: Float[np.ndarray, " n"]
    total_usd: Float[np.ndarray, " n"]
    rival: Int[np.ndarray, " n"]
    rival_usd: Float[np.ndarray, " n"]
    no_deadline_usd: Float[np.ndarray, " n"]
    lower_quality_usd: Float[np.ndarray, " n"]
    any_quality_usd: Float[np.ndarray, " n"]
    patient_usd: Float[np.ndarray, " n"]
    habit_usd: Float[np.ndarray, " n"]
    habit_limit: Int[np.ndarray, " n"]
    reason: Int[np.ndarray, " n"]
    limit: Int[np.ndarray, " n"]
    nearest_deadline_s: Float[np.ndarray, " n"]
    nearest_quality: Float[np.ndarray, " n"]
    break_even_usd_per_hour: Float[np.ndarray, "n p"]


def choose(question: Question) -> Chosen:
    """Return the cheapest offer of every task that keeps its promises; of equals the habit, then the best."""
    n, tiers = len(question.tasks), pairs(question)
    parts = [_part(question, tiers, part) for part in chunks(n, len(question.catalogue.offers))]
    return Chosen(*(np.concatenate(arrays) for arrays in zip(*(_arrays(part) for part in parts), strict=True)))


def chunks(tasks: int, offers: int) -> Iterator[slice]:
    """Yield slices of tasks such that each has no more than a core's cache of cells."""
    step = max(1, _CELLS // offers)
    return (slice(start, min(start + step, tasks)) for start in range(0, tasks, step))


def pairs(question: Question) -> list[tuple[int, int]]:
    """Return neighbours in speed, (slower, faster), among offers of one model and quality, at tasks' mean lengths."""
    tasks, offers = question.tasks, question.catalogue.offers
    new = np.array([np.mean(tasks.input_tokens - tasks.cached_tokens)])
    answer = np.array([np.mean(tasks.output_tokens)])
    time = [latency_s(offer, new, answer * offer.output_ratio)[0] for offer in offers]
    kinds = dict.fromkeys((offer.model, offer.quality) for offer in offers)
    out = []
    for kind in kinds:
        same = [i for i, offer in enumerate(offers) if (offer.model, offer.quality) == kind]
        same.sort(key=lambda i: -time[i])
        out += [(slow, fast) for slow, fast in pairwise(same) if time[fast] < time[slow]]
    return out


def levels(offers: Sequence[OfferFacts]) -> Float[np.ndarray, " l"]:
    """Return the qualities on offer, rising."""
    return np.unique([offer.quality for offer in offers])


def best_model(offers: Sequence[OfferFacts]) -> str:
    """Return the model of the highest quality on offer, the first of equals."""
    return max(offers, key=lambda offer: offer.quality).model


def _arrays(part: Chosen) -> list[np.ndarray]:
    return [getattr(part, field.name) for field in fields(part)]


def _part(question: Question, tiers: Sequence[tuple[int, int]], part: slice) -> Chosen:
    """Choose for one slice of the tasks; n of them, m offers."""
    tasks, offers, habit = question.tasks, question.catalogue.offers, question.habit
    quality = np.array([[offer.quality] for offer in offers])
    cells = grid(offers, tasks, part)
    need, deadline = tasks.quality[part], tasks.deadline_s[part]
    total = cells.usd + tasks.value_usd_per_hour[part] / HOUR_S * cells.latency_s
    good, timely = quality >= need, question.deadline_margin * cells.latency_s <= deadline
    able = good & timely & cells.fits

    tasks_here = np.arange(len(need))
    cost = np.where(able, total, inf)
    least = cost.min(axis=0)
    some = least < inf
    order = sorted(range(len(offers)), key=lambda i: (i != habit, -offers[i].quality, i))
    chosen = _first(cost, least, order)
    cost[chosen, tasks_here] = inf  # what is left are rivals
    rival_usd = cost.min(axis=0)

    steps = levels(offers)
    level = np.searchsorted(steps, need)
    lower = np.where(level > 0, steps[np.maximum(level - 1, 0)], need)
    limit, nearest_deadline, nearest_quality = _refusals(question, cells, good, timely, quality)
    return Chosen(
        offer=np.where(some, chosen, -1),
        paid_usd=np.where(some, cells.usd[chosen, tasks_here], np.nan),
        latency_s=np.where(some, cells.latency_s[chosen, tasks_here], np.nan),
        total_usd=np.where(some, total[chosen, tasks_here], np.nan),
        rival=np.where(rival_usd < inf, _first(cost, rival_usd, order), -1),
        rival_usd=rival_usd,
        no_deadline_usd=_least(total, good & cells.fits),
        lower_quality_usd=_least(total, (quality >= lower) & timely & cells.fits),
        any_quality_usd=_least(total, timely & cells.fits),
        patient_usd=_least(cells.usd, able),
        habit_usd=total[habit],
        habit_limit=np.select([~good[habit], ~cells.fits[habit], ~timely[habit]], [1, 2, 3], 0),
        reason=_reasons(offers, good, cells.fits, able),
        limit=np.where(some, 0, limit),
        nearest_deadline_s=nearest_deadline,
        nearest_quality=nearest_quality,
        break_even_usd_per_hour=_break_even(cells, tiers),
    )


def _first(
    cost: Float[np.ndarray, "m n"], least: Float[np.ndarray, " n"], order: Sequence[int]
) -> Int[np.ndarray, " n"]:
    """Return the first offer, in ``order``, whose cost is the least up to rounding."""
    out, bound = np.full(len(least), order[0]), least * _SAME
    for i in reversed(order):
        out[cost[i] <= bound] = i
    return out


def _least(total: Float[np.ndarray, "m n"], able: Bool[np.ndarray, "m n"]) -> Float[np.ndarray, " n"]:
    return np.where(able, total, inf).min(axis=0)


def _refusals(
    question: Question, cells: Grid, good: Bool[np.ndarray, "m n"], timely: Bool[np.ndarray, "m n"], quality: np.ndarray
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return what stands in the way of a task that no offer serves, and what would be near enough."""
    fits, right = cells.fits, good & cells.fits
    limit = np.select([~fits.any(axis=0), ~good.any(axis=0), ~right.any(axis=0)], [2, 1, 2], 3)
    soonest = question.deadline_margin * _least(cells.latency_s, right)
    highest = -_least(-np.broadcast_to(quality, fits.shape), fits & timely)
    return limit, np.where(soonest < inf, soonest, np.nan), np.where(highest > -inf, highest, np.nan)


def _reasons(
    offers: Sequence[OfferFacts], good: Bool[np.ndarray, "m n"], fits: Bool[np.ndarray, "m n"], able: np.ndarray
) -> Int[np.ndarray, " n"]:
    """Return why no model but the best is taken, by number in `REASONS`: what the others lack, or only their cost."""
    others = np.array([[offer.model != best_model(offers)] for offer in offers])
    lacking = [~(kept & others).any(axis=0) for kept in (good, good & fits, able)]
    return np.select(lacking, [0, 1, 2], 3)


def _break_even(cells: Grid, tiers: Sequence[tuple[int, int]]) -> Float[np.ndarray, "n p"]:
    """Return what an hour must be worth for the faster of two tiers to pay: 0 where it is no dearer, NaN where it is
    not faster or either does not fit."""
    out = np.full((cells.usd.shape[1], len(tiers)), np.nan)
    for p, (slow, fast) in enumerate(tiers):
        dearer = cells.usd[fast] - cells.usd[slow]
        sooner = cells.latency_s[slow] - cells.latency_s[fast]
        told = (sooner > 0.0) & cells.fits[fast] & cells.fits[slow]
        out[told, p] = np.maximum(dearer[told], 0.0) / sooner[told] * HOUR_S
    return out

"""How many chips a deadline takes: layouts over numbers of chips, coarse first."""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

import configs

from . import space
from .question import Question

_STEPS = 16
_WASTE = 32.0  # chips that a run may take over those that it would at their peak


@dataclass(frozen=True)
class Found:
    """The layouts on the chips given or found, fastest first, and what other numbers of chips would do.

    ``curve`` has a row per number of chips considered, ``nearest_days`` the shortest run of any of them.
    """

    space: space.Space
    curve: list[dict[str, Any]]
    nearest_days: float


def find(question: Question) -> Found:
    """Return the layouts of the chips given; with days alone, of the fewest chips found that are done in them.

    Numbers of chips tried are powers of two, then sixteenths of the one that is enough: what layouts divide well.
    """
    if question.chips is not None:
        found = space.search(question, [question.chips])
        days = float(found.days.min(initial=np.inf))
        late = question.days is not None and days > question.days
        return Found(replace(found, ways=[]) if late else found, _rows(question, found, [question.chips]), days)
    tried: dict[int, dict[str, Any]] = {}

    def enough(counts: list[int]) -> int | None:
        tried.update({row["chips"]: row for row in _rows(question, space.search(question, counts), counts)})
        return min((n for n, row in tried.items() if row["days"] <= question.days), default=None)

    likely, others = _powers(question)
    best = enough(likely) or enough(others)
    if best is None:
        return Found(space.EMPTY, _sorted(tried), min((row["days"] for row in tried.values()), default=np.inf))
    odd = _odd(question)
    step = max(best // odd // (2 * _STEPS), 1) * odd
    between = list(range(best // odd // 2 * odd + step, best, step))
    best = (enough(between) if between else None) or best
    return Found(space.search(question, [best]), _sorted(tried), tried[best]["days"])


def _powers(question: Question) -> tuple[list[int], list[int]]:
    """Return powers of two as numbers of chips: from those that do it at their peak up, and all others."""
    assert question.days is not None
    busy_s = 6.0 * question.model.active_params * question.tokens / question.chip.peak_flops_per_s[question.precision]
    least = busy_s / (question.days * configs.DAY_S)
    odd = _odd(question)
    every = [odd * 2**k for k in range(space.MOST_CHIPS.bit_length()) if odd * 2**k <= space.MOST_CHIPS]
    likely = [n for n in every if least <= n <= _WASTE * least]
    return likely, [n for n in every if n not in likely]


def _odd(question: Question) -> int:
    """Return the odd part of the chips that the given ways take: every number of chips tried is a multiple of it."""
    apart = prod(question.ways.get(name, 1) for name in ("tp", "pp", "cp"))
    while apart % 2 == 0:
        apart //= 2
    return apart


def _sorted(tried: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [tried[n] for n in sorted(tried)]


def _rows(question: Question, found: space.Space, counts: list[int]) -> list[dict[str, Any]]:
    """Return the best layout of each number of chips that has one."""
    best: dict[int, int] = {}
    for i, way in enumerate(found.ways):
        best.setdefault(way.chips, i)
    out = []
    for n in counts:
        if n in best:
            i = best[n]
            hours = float(found.days[i]) * 24.0 * n
            usd = None if question.usd_per_hour is None else hours * question.usd_per_hour
            rate = float(found.rates[i])
            out.append({"chips": n, "days": float(found.days[i]), "tokens_per_s_per_chip": rate, "usd": usd})
    return out

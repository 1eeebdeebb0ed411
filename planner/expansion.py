"""How many experts a plan is best with: a scan, since only for one number of them is the program convex."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .infeasible import Infeasible
from .search import Planner

_REACH = math.log(4.0 / 3.0)  # how far experts move before times and the training run's form are matched anew
_GRID = 5  # points of a scan within reach
_STILL = 3e-3  # ln of experts: a move that needs no other match
_ROUNDS = 8
_STEPS = 12  # of parabolas through the best three points
_EXACT = 3e-6  # ln of experts: closer than this costs are the same to their rounding
_SECTIONS = 6  # of a bracket, where a plan is searched from scratch for each number of experts
_LEAST = 1.25  # experts: two more than the eight of each token
_GOLDEN = 0.5 * (math.sqrt(5.0) - 1.0)


@dataclass(frozen=True)
class Found:
    """The best plan with one number of experts, or the ``refusal`` that says why there is none."""

    planner: Planner
    given: Mapping[str, Any]
    solved: dict[str, Any]
    refusal: Infeasible | None = None

    @property
    def score(self) -> float:
        """What plans are compared by: the loss that a budget buys or ln of the objective; infinite without a plan."""
        if self.refusal is not None:
            return math.inf
        if self.planner.budget is not None:
            return float(self.given["target_loss"])
        return float(self.solved["log_objective"])


def scanned(
    menu: Sequence[float], search: Callable[[float], Found], tick: Callable[[str], None] | None = None
) -> list[Found]:
    """Return the best plan of the first number of experts of ``menu`` (dense), and of all others and those between.

    ``tick`` is told what is searched: each entry of the menu, and last what lies between.
    Where none has a plan, the one with the least excess over a limit comes first.
    """
    found: list[Found] = []
    tick = tick or (lambda what: None)
    for experts in menu:
        tick("dense models" if experts <= 1.0 else f"{experts:.3g} x experts")
        found.append((_from(found[-1], experts) if found else None) or search(experts))
    if all(one.refusal is not None for one in found):
        return sorted(found, key=lambda one: one.refusal.excess_fraction if one.refusal else 0.0)
    if len(found) == 1:
        return found
    i = min(range(1, len(found)), key=lambda k: found[k].score)
    best = found[i]
    low, high = max(menu[i - 1], min(_LEAST, menu[i])), menu[min(i + 1, len(menu) - 1)]
    if best.refusal is not None:
        return found[:1]
    tick("between")
    if best.planner.budget is None and not best.planner.schools.firm:
        planner, given, solved = settled(best.planner, best.given, best.solved, low, high)
        return [found[0], Found(planner, given, solved)]
    tried = [best]

    def value(experts: float) -> float:
        tried.append(search(experts))
        return tried[-1].score

    sections(value, low, high)
    return [found[0], min(tried, key=lambda one: one.score)]


def _from(last: Found, experts: float) -> Found | None:
    """Return the best plan with ``experts``, the search begun with the residuals and forms of ``last``; None where that
    has none to begin with, or the plan has limits beyond the program's."""
    planner = last.planner
    plain = last.refusal is None and planner.budget is None and not planner.schools.firm and planner.experts > 1.0
    if not plain or last.given["by_flops"]:
        return None
    moved = planner.with_experts(experts)
    told = _numbers(moved, last.given)
    solved = moved.solve(told, start=planner.condensed.residuals)
    return Found(moved, told, solved) if solved["found"] else None


def settled(
    planner: Planner, given: Mapping[str, Any], solved: dict[str, Any], low: float, high: float
) -> tuple[Planner, Mapping[str, Any], dict[str, Any]]:
    """Return the plan with the best number of experts between ``low`` and ``high``, near that of ``planner``, which
    found ``solved``; with its planner and the scenario's numbers.

    With residuals and forms held (both have slopes in experts) every number of experts is one convex program: the best
    of them is found, times are matched there, and so on until it stays. The last scan's plan is the answer.
    """
    best = math.log(planner.experts)
    for left in reversed(range(_ROUNDS)):
        at = math.log(planner.experts)
        ends = max(math.log(low), at - _REACH), min(math.log(high), at + _REACH)
        best = lowest(partial(_value, planner, given), *ends, _GRID)
        if abs(best - at) < _STILL or not left:
            break
        # Slopes matched anew overshoot as far to the other side: halfway lies near where they are right.
        moved = planner.with_experts(math.exp(0.5 * (at + best)))
        told = _numbers(moved, given)
        found = moved.solve(told, start=planner.condensed.residuals)
        if not found["found"]:
            break
        planner, given, solved = moved, told, found
    last = planner.with_experts(min(max(math.exp(best), low), high))
    told = _numbers(last, given)
    found = last.held(told)
    return (last, told, {**solved, **found}) if found["found"] else (planner, given, solved)


def _numbers(planner: Planner, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the forms of ``planner``."""
    return {**given, "training": planner.training}


def _value(planner: Planner, given: Mapping[str, Any], log_experts: float) -> float:
    """Return ln of the objective with residuals and forms of ``planner`` held, infinite where there is no plan."""
    moved = planner.with_experts(math.exp(log_experts))
    told = moved.again(_numbers(moved, given))
    return float(told["log_objective"]) if told["found"] else math.inf


def lowest(value: Callable[[float], float], low: float, high: float, grid: int) -> float:
    """Return where ``value`` is least between ``low`` and ``high``: the best of ``grid`` points, and then parabolas
    through it and its neighbours."""
    if high - low < _EXACT:
        return high
    points = {x: value(x) for x in (low + (high - low) * i / (grid - 1) for i in range(grid))}
    for _ in range(_STEPS):
        xs = sorted(points)
        i = min(range(len(xs)), key=lambda k: points[xs[k]])
        sides = [xs[k] for k in (i - 1, i + 1) if 0 <= k < len(xs)]
        if not math.isfinite(points[xs[i]]):
            return high
        if len(sides) == 1 or not all(math.isfinite(points[x]) for x in sides):
            # At an end, or beside what has no plan: halfway towards what has one.
            towards = [x for x in sides if math.isfinite(points[x])] if len(sides) == 1 else sides
            new = [0.5 * (xs[i] + x) for x in towards]
        else:
            new = [_vertex(xs[i], *sides, points)]
        new = [x for x in new if min(abs(x - y) for y in points) > _EXACT]
        if not new or (len(sides) == 1 and max(abs(x - xs[i]) for x in new) < 1e-3):
            return xs[i]
        points |= {x: value(x) for x in new}
    return min(points, key=lambda x: points[x])


def _vertex(middle: float, left: float, right: float, value: Mapping[float, float]) -> float:
    """Return the lowest point of the parabola through three points, the middle one the lowest of them."""
    by_left, by_right = value[left] - value[middle], value[right] - value[middle]
    a, b = middle - left, right - middle
    bend = by_left * b + by_right * a
    return middle if bend <= 0.0 else middle + 0.5 * (by_left * b * b - by_right * a * a) / bend


def sections(value: Callable[[float], float], low: float, high: float) -> None:
    """Ask for ``value`` at a few numbers of experts between ``low`` and ``high``, ever nearer the best (golden
    section): for plans that are held by more than the program's limits, which are searched from scratch."""
    a, b = math.log(low), math.log(high)
    left, right = b - _GOLDEN * (b - a), a + _GOLDEN * (b - a)
    known = [value(math.exp(left)), value(math.exp(right))]
    for _ in range(_SECTIONS - 2):
        if known[0] <= known[1]:
            b, right = right, left
            left = b - _GOLDEN * (b - a)
            known = [value(math.exp(left)), known[0]]
        else:
            a, left = left, right
            right = a + _GOLDEN * (b - a)
            known = [known[1], value(math.exp(right))]

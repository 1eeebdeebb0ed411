"""Plans whose training run has a deadline that takes more chips than there may be, or that no layout meets."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from .infeasible import Infeasible, up
from .schooling import School
from .search import Planner

_HALVINGS = 13  # of the split between compute-optimal and the last one considered: to a ten-thousandth
_INSIDE = 1.0 - 1e-3  # of the limit: a form matched anew may ask for a little more
_WIDER = 1.02  # times the limit, for what more of it saves
_LONGEST_DAYS = 1e5


def capped(planner: Planner, given: Mapping[str, Any], solved: dict[str, Any]) -> dict[str, Any] | Infeasible:
    """Return ``solved`` if its run can be trained within the limits, else the best plan that can, or why there is none.

    At one quality fewer chips are needed the nearer size and tokens are to compute-optimal: the best plan within a
    limit that binds lies where it just binds. ``solved["held_by"]`` then names the limit, and ``solved["worth"]`` is
    d ln(objective) / d ln(limit).
    """
    most = planner.schools.most
    if not planner.schools.firm:  # then it takes as long as it takes
        return solved
    curve = _Curve(planner, solved)
    if curve.school(curve.split, most) is not None:
        return solved
    if curve.school(curve.optimal, most * _INSIDE) is None:
        return _impossible(planner, curve, most)
    inside = min(_edge(curve, most * _INSIDE), curve.split)
    wider = planner.solve(given, _edge(curve, most * _INSIDE * _WIDER)) if math.isfinite(most) else None
    out = planner.solve(given, inside)
    if not out["found"]:
        return out
    slope = 0.0
    if wider is not None and wider["found"]:
        slope = (float(wider["log_objective"]) - float(out["log_objective"])) / math.log(_WIDER)
    return out | {"held_by": "train_chips" if math.isfinite(most) else "train_days", "worth": min(slope, 0.0)}


def tightest(planner: Planner, given: Mapping[str, Any], solved: Mapping[str, Any]) -> Any:
    """Return ln(use / limit) of `CAPS` by choice of the smallest model that can be trained to the quality: where no
    model serves within its limits, it comes closest."""
    most = planner.schools.most
    if not planner.schools.firm:
        return solved["caps"]
    curve = _Curve(planner, solved)
    if curve.school(curve.last, most) is not None or curve.school(curve.optimal, most * _INSIDE) is None:
        return solved["caps"]
    return planner.solve(given, _edge(curve, most * _INSIDE))["caps"]


class _Curve:
    """Sizes and tokens of one quality on the best choice, by the split of `scaling.Law.log_split`."""

    def __init__(self, planner: Planner, solved: Mapping[str, Any]):
        self.planner, self.split = planner, float(solved["split"])
        self.tell = partial(planner.curve, float(solved["target_loss"]), int(solved["best"]))
        ends = self.tell(self.split)
        self.optimal = float(ends["optimal"])
        self.last = max(float(ends["last"]), self.optimal)

    def at(self, split: float) -> tuple[float, float]:
        """Return (ln N, ln D) at ``split``."""
        told = self.tell(split)
        return float(told["log_N"]), float(told["log_D"])

    def school(self, split: float, most: float) -> School | None:
        """Return where the plan at ``split`` is best trained on at most so many chips; None where it is not."""
        return self.planner.schools.match(*self.at(split), most=most)


def _edge(curve: _Curve, most: float) -> float:
    """Return the split furthest from compute-optimal at which the run takes at most so many chips."""
    inside, outside = curve.optimal, max(curve.last, curve.optimal)
    for _ in range(_HALVINGS):
        middle = 0.5 * (inside + outside)
        if curve.school(middle, most) is None:
            outside = middle
        else:
            inside = middle
    return inside


def _impossible(planner: Planner, curve: _Curve, most: float) -> Infeasible:
    """Explain a quality that even compute-optimal training does not reach within the limits."""
    log_N, log_D = curve.at(curve.optimal)
    days = planner.schools.days
    free = planner.schools.match(log_N, log_D, most=math.inf)
    longer = planner.schools.days_for(log_N, log_D, most, _LONGEST_DAYS)
    sizes = f"{math.exp(log_N):.3g} parameters, {math.exp(log_D):.3g} tokens"
    run = f"even compute-optimal training of this quality ({sizes})"
    nearest: dict[str, float] = {}
    remedies = []
    if free is not None and math.isfinite(most):
        nearest["train_chips"] = math.ceil(free.chips / _INSIDE)
        remedies.append(f"--train-chips to {nearest['train_chips']:,.0f}")
    if longer is not None:
        nearest["train_days"] = longer
        remedies.append(f"--train-days to {up(longer)}{_on(most)}")
    remedy = (
        f": raise {' or '.join(remedies)}" if remedies else ": lower the quality, or train on other chips (--train-on)"
    )
    if free is not None and math.isfinite(most):
        said = f"{run} takes {free.chips:,.0f} chips for {days:g} days, over --train-chips {most:,.0f}"
        return Infeasible("infeasible", "train_chips", said + remedy, free.chips / most - 1.0, nearest)
    excess = 0.0 if longer is None else longer / days - 1.0
    said = f"{run} is not done in --train-days {days:g} on any number of chips: a batch feeds only so many"
    return Infeasible("infeasible", "train_days", said + remedy, excess, nearest)


def untrainable(planner: Planner, log_N: float, log_D: float) -> Infeasible | None:
    """Return why a given plan cannot be trained within the limits, if so."""
    most = planner.schools.most
    if not planner.schools.firm or planner.schools.match(log_N, log_D) is not None:
        return None
    days, free = planner.schools.days, planner.schools.match(log_N, log_D, most=math.inf)
    longer = planner.schools.days_for(log_N, log_D, most, _LONGEST_DAYS)
    nearest = {} if longer is None else {"train_days": longer}
    remedy = "" if longer is None else f": raise --train-days to {up(longer)}{_on(most)}"
    if free is not None:
        nearest["train_chips"] = math.ceil(free.chips)
        remedy = f"{remedy or ': raise'}{' or' if longer else ''} --train-chips to {nearest['train_chips']:,.0f}"
        said = f"training this plan takes {free.chips:,.0f} chips for {days:g} days, over --train-chips {most:,.0f}"
        return Infeasible("infeasible", "train_chips", said + remedy, free.chips / most - 1.0, nearest)
    said = f"training this plan is not done in --train-days {days:g} on any number of chips"
    return Infeasible(
        "infeasible", "train_days", said + remedy, 0.0 if longer is None else longer / days - 1.0, nearest
    )


def _on(most: float) -> str:
    return f" (on {most:,.0f} chips)" if math.isfinite(most) else ""

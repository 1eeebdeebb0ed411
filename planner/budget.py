"""Questions that state a budget: the best quality that it buys, or what would be enough."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .capped import capped
from .choices import Choice
from .infeasible import Infeasible, over_caps, unaffordable
from .repetition import exhausted
from .scenario import Scenario
from .search import Planner

_LOSSES, _WORSE, _LOSS_STEP = 24, 1.05, 1e-4  # tries of losses, of what is above the floor, and how near they get
_ENDLESS_USD = 1e12  # what bounds the least loss that a refusal offers


def spent(planner: Planner, given: Mapping[str, Any], solved: dict[str, Any]) -> dict[str, Any] | Infeasible:
    """Return what a budget buys where the training run has limits: the best quality of which a plan within them costs
    no more. ``solved`` is the plan without."""
    within = capped(planner, given, solved)
    if within is solved:
        return within
    low, high = float(given["target_loss"]), None
    budget, floor = math.log(float(planner.budget or 1.0)), planner.scenario.law.lowest_loss
    for _ in range(_LOSSES):
        loss = floor + (low - floor) * _WORSE if high is None else math.sqrt(low * high)
        given["target_loss"] = loss  # type: ignore[index]
        tried = planner.solve(given)
        tried = capped(planner, given, tried) if tried["found"] else tried
        fine = not isinstance(tried, Infeasible) and tried["found"] and float(tried["log_objective"]) <= budget
        if fine:
            high, within = loss, tried
        else:
            low = loss
        if high is not None and high < low * (1.0 + _LOSS_STEP):
            break
    if high is None:
        return within
    given["target_loss"] = high  # type: ignore[index]
    return capped(planner, given, planner.solve(given))  # so that the forms are this plan's


def least_loss(scenario: Scenario, choices: list[Choice]) -> float | None:
    """Return about the least target loss that has a plan: what `_ENDLESS_USD` buy within the limits."""
    settings = {k: v for k, v in scenario.settings.items() if k != "target_loss"}
    if settings["objective"] == "flops":
        return scenario.law.lowest_loss * (1.0 + 1e-3)
    if any(c.usd_per_hour is None for c in choices):
        return None
    found, _ = afford(Planner(Scenario({**settings, "objective": "usd", "budget_usd": _ENDLESS_USD}), choices))
    return found * (1.0 + 1e-4) if isinstance(found, float) else None


def afford(planner: Planner, known: Mapping[str, float] | None = None) -> tuple[float | Infeasible, Mapping[str, Any]]:
    """Return the best loss that the budget buys over all choices, or why it buys none, and what each choice buys."""
    found, loss = _bought(planner)
    n = len(planner.choices)
    if math.isfinite(loss):
        planner.unsettled = int(found["unsettled"])
        return loss, found
    caps = found["caps"][:, :n]
    if not (caps.max(axis=0) < 0).any():
        return over_caps(planner.scenario, planner.choices, caps, "even a model of a million parameters", known), found
    if "repetition" in planner.given and int(found["unsettled"]):
        return exhausted(planner), found
    needed = _enough(planner)
    return unaffordable(planner.scenario, planner.choices, caps, found["floor"][:n], needed), found


def _bought(planner: Planner) -> tuple[dict[str, Any], float]:
    found = planner.best_loss(planner.given)
    loss = np.where(found["ok"] > 0, found["loss_nats"], np.inf)[: len(planner.choices)]
    return found, float(loss.min())


def _enough(planner: Planner) -> float | None:
    """Return a budget that buys something, at most 4 % above one that does not; None where none was found."""
    short = float(planner.budget or 0.0)
    enough = short
    for _ in range(40):
        planner.budget = enough = 2.0 * enough
        if math.isfinite(_bought(planner)[1]):
            break
        short = enough
    else:
        return None
    while enough > 1.04 * short:
        planner.budget = middle = math.sqrt(short * enough)
        short, enough = (short, middle) if math.isfinite(_bought(planner)[1]) else (middle, enough)
    return enough * 1.001

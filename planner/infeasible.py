"""Why a question has no plan: which limit binds, by how much, and the nearest feasible value."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .choices import Choice
from .scenario import Scenario

TOLERANCE = 1e-8  # of ln(use / limit): what rounding leaves of a limit that binds


@dataclass(frozen=True)
class Infeasible:
    """Why no plan exists: the limit that binds first, and what would be feasible.

    ``excess_fraction`` is how far the limit is exceeded where it is exceeded least; ``nearest`` maps
    settings to the nearest values with which a plan exists.
    """

    status: str
    limit: str
    message: str
    excess_fraction: float
    nearest: dict[str, float] = field(default_factory=dict)


def unreachable(scenario: Scenario) -> Infeasible | None:
    """Return why no amount of parameters and data reaches the target loss, if none does."""
    target, floor = scenario.settings.get("target_loss"), scenario.law.coefficients["E"]
    if target is None or target > floor:
        return None
    return Infeasible(
        "target-loss-unreachable",
        "target_loss",
        f"the target loss {target:g} is not above the irreducible loss {floor:.5g} of {scenario.law.id}: "
        "raise --target-loss or choose another --law",
        floor / target - 1.0,
        {"target_loss": floor * (1.0 + 1e-3)},
    )


def over_caps(scenario: Scenario, choices: list[Choice], caps: np.ndarray, whose: str) -> Infeasible:
    """Explain caps that no choice satisfies; ``caps`` are ln(use / limit) of memory, TPOT and TTFT by choice."""
    over = caps[:, : len(choices)]
    least = int(np.argmin(over.max(axis=0)))
    limit = int(np.argmax(over[:, least]))
    choice, excess = choices[least], math.expm1(over[limit, least])
    nearest = {}
    for i, name in ((1, "tpot_ms"), (2, "ttft_ms")):
        if over[i, least] >= 0:
            nearest[name] = scenario.settings[name] * math.exp(over[i, least]) * (1.0 + 1e-6)
    where = f"{choice.n_chips} x {choice.chip.id} in {choice.precision}"
    if limit == 0:
        have = choice.chip.hbm_bytes * choice.n_chips
        nearest["hbm_bytes"] = have * math.exp(over[0, least])
        message = (
            f"{whose} and one request's KV cache need {nearest['hbm_bytes'] / 1e9:.4g} GB and the largest replica "
            f"allowed, {where}, has {have / 1e9:.4g} GB: allow chips with more memory (--chips), a smaller "
            "--precision, or shorter --input-tokens"
        )
    else:
        name, flag = (("tpot_ms", "--tpot-ms"), ("ttft_ms", "--ttft-ms"))[limit - 1]
        message = (
            f"{whose} serves one request alone at {nearest[name]:.4g} ms on {where}, the nearest of the choices, "
            f"against {flag} {scenario.settings[name]:g}: raise {flag} to {nearest[name]:.4g}, or allow "
            "faster chips (--chips), a smaller --precision, or a lower quality"
        )
    return Infeasible("infeasible", ("hbm", "tpot", "ttft")[limit], message, excess, nearest)


def unaffordable(scenario: Scenario, choices: Sequence[Choice], caps: np.ndarray, floor: np.ndarray) -> Infeasible:
    """Explain a budget below the cost of serving anything; ``floor`` is ln(that cost / budget) by choice."""
    floor = np.where(caps.max(axis=0) < 0, floor, np.inf)
    least, budget = int(np.argmin(floor)), scenario.settings["budget_usd"]
    choice, needed = choices[least], budget * math.exp(max(floor[least], 0.0)) * 1.05
    return Infeasible(
        "budget-too-small",
        "budget_usd",
        f"serving this demand with even a tiny model on {choice.n_chips} x {choice.chip.id} for "
        f"{scenario.settings['lifetime_days']:g} days costs about ${needed:,.0f}, over the budget of ${budget:,.0f}: "
        "raise --budget-usd, allow cheaper --chips, or shorten --lifetime-days",
        needed / budget - 1.0,
        {"budget_usd": needed},
    )


def appraisal(scenario: Scenario, choice: Choice, told: Mapping[str, float], tokens_given: bool) -> Infeasible | None:
    """Return what is wrong with a given plan on ``choice``, described by ``told``, if anything."""
    target = told["target_loss"]
    floor = told["params_floor"]
    if not tokens_given and not math.isfinite(told["tokens"]):
        return Infeasible(
            "below-law-floor",
            "params",
            f"{told['params']:.4g} parameters cannot reach the target loss {target:.5g} with any amount of data "
            f"under {scenario.law.id}: --params must be above {floor:.5g}",
            floor / told["params"] - 1.0,
            {"params": floor * 1.001},
        )
    if tokens_given and told["loss_nats"] > target * (1.0 + 1e-9):
        needed = told["tokens_for_target"]
        nearest = {"train_tokens": needed} if math.isfinite(needed) else {"params": floor * 1.001}
        remedy = f"--train-tokens to {needed:.6g}" if math.isfinite(needed) else f"--params above {floor:.5g}"
        return Infeasible(
            "quality-missed",
            "target_loss",
            f"the plan reaches {told['loss_nats']:.5g} nats, short of the target {target:.5g}: raise {remedy}, "
            "or judge it at its own quality with --target-loss",
            told["loss_nats"] / target - 1.0,
            nearest,
        )
    over = np.array([[told[f"log_{name}_use"]] for name in ("hbm", "tpot", "ttft")])
    if over.max() <= TOLERANCE:
        return None
    worst = int(np.argmax(over[:, 0]))
    batch, best = told["batch"], told["useful_batch"]
    alone = over_caps(scenario, [choice], over, "this plan") if best <= 1.0 else None
    if alone:
        return alone
    name = ("memory", "--tpot-ms", "--ttft-ms")[worst]
    return Infeasible(
        "infeasible",
        ("hbm", "tpot", "ttft")[worst],
        f"a batch of {batch:g} exceeds the limit on {name} by {100 * math.expm1(over[worst, 0]):.3g} %: the largest "
        f"batch within all limits is {best:.6g}",
        math.expm1(over[worst, 0]),
        {"batch": float(best)},
    )

"""Why a question has no plan: which limit binds, by how much, and the nearest feasible value."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .choices import Choice
from .scenario import Scenario

CAPS = ("hbm", "tpot", "ttft", "engine")  # the limits that cap a batch, in the order of the compiled planner
TOLERANCE = 1e-8  # of ln(use / limit): what rounding leaves of a limit that binds


def up(value: float) -> str:
    """Return ``value`` in four digits, rounded up: a limit that still holds as printed."""
    return _directed(value, math.ceil)


def down(value: float) -> str:
    """Return ``value`` in four digits, rounded down."""
    return _directed(value, math.floor)


def _directed(value: float, toward: Callable[[float], int]) -> str:
    unit = 10.0 ** (math.floor(math.log10(value)) - 3)
    return f"{toward(value / unit) * unit:.4g}"


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


def is_unreachable(scenario: Scenario) -> bool:
    """Say whether no amount of parameters and data reaches the target loss."""
    target = scenario.settings.get("target_loss")
    return target is not None and target <= scenario.law.lowest_loss


def unreachable(scenario: Scenario, nearest: float | None) -> Infeasible:
    """Explain a target loss at or below the law's floor; ``nearest`` is the least that has a plan, if known."""
    target, floor = scenario.settings["target_loss"], scenario.law.lowest_loss
    remedy = f"raise --target-loss to {up(nearest)}" if nearest else "raise --target-loss"
    return Infeasible(
        "target-loss-unreachable",
        "target_loss",
        f"the target loss {target:g} is not above the irreducible loss {floor:.5g} of {scenario.law.id}: "
        f"{remedy}, or choose another --law",
        floor / target - 1.0,
        {"target_loss": nearest} if nearest else {},
    )


def over_caps(
    scenario: Scenario, choices: list[Choice], caps: np.ndarray, whose: str, known: Mapping[str, float] | None = None
) -> Infeasible:
    """Explain caps that no choice satisfies: ``caps`` are ln(use / limit) of `CAPS` by choice.

    ``known`` are nearest values that were tried: they stand in for those that the caps tell.
    """
    over = caps[:, : len(choices)]
    least = int(np.argmin(over.max(axis=0)))
    limit = int(np.argmax(over[:3, least]))
    if not np.isfinite(over[:, least]).all():
        said = f"under {scenario.law.id} no size considered reaches this quality: choose another --law or quality"
        return Infeasible("infeasible", "law", said, 0.0)
    if over[limit, least] < 0:
        raise ArithmeticError("the solver settled on no plan although every limit leaves room")
    choice, excess = choices[least], math.expm1(over[limit, least])
    nearest = {}
    for i, name in ((1, "tpot_ms"), (2, "ttft_ms")):
        if over[i, least] >= 0:
            nearest[name] = scenario.settings[name] * math.exp(over[i, least]) * (1.0 + 1e-6)
    nearest = nearest | dict(known or {})
    if limit > 0:
        name = ("tpot_ms", "ttft_ms")[limit - 1]
        excess = nearest[name] / scenario.settings[name] - 1.0
    where = f"{choice.n_chips} x {choice.chip.id} in {choice.precision}"
    if choice.stages > 1:
        where += f", {choice.stages} stages of a pipeline"
    alone = len(choices) == 1
    have = choice.chip.visible_bytes * choice.n_chips
    if over[0, least] >= 0:
        nearest["replica_hbm_bytes"] = have * math.exp(over[0, least])
    if limit == 0:
        allowed = "the replica" if alone else "the nearest replica allowed"
        message = (
            f"{whose} and one request's KV cache need {up(nearest['replica_hbm_bytes'] / 1e9)} GB and {allowed}, "
            f"{where}, has {have / 1e9:.4g} GB: allow chips with more memory (--chips), a smaller "
            "--precision, or shorter --input-tokens"
        )
    else:
        name, flag = (("tpot_ms", "--tpot-ms"), ("ttft_ms", "--ttft-ms"))[limit - 1]
        # The limit that binds most comes first.
        keys = sorted((key for key in nearest if key.endswith("_ms")), key=lambda key: key != name)
        raised = [f"--{key.replace('_', '-')} to {up(nearest[key])}" for key in keys]
        message = (
            f"{whose} serves one request alone at {up(nearest[name])} ms on {where}"
            f"{'' if alone else ', the nearest of the choices'}, against {flag} {scenario.settings[name]:g}: "
            f"raise {' and '.join(raised)}, or allow faster chips (--chips), a smaller --precision, or a lower quality"
        )
    return Infeasible("infeasible", CAPS[limit], message, excess, nearest)


def unaffordable(
    scenario: Scenario, choices: Sequence[Choice], caps: np.ndarray, floor: np.ndarray, needed: float | None = None
) -> Infeasible:
    """Explain a budget below the cost of serving anything; ``floor`` is ln(that cost / budget) by choice.

    ``needed`` is a budget in US dollars that is known to be enough.
    """
    floor = np.where(caps.max(axis=0) < 0, floor, np.inf)
    least, budget = int(np.argmin(floor)), scenario.settings["budget_usd"]
    # The least serving cost, and as much again in hundredths for training anything.
    choice = choices[least]
    told = budget * math.exp(max(floor[least], 0.0)) * 1.05
    enough = told if needed is None else needed
    return Infeasible(
        "budget-too-small",
        "budget_usd",
        f"serving this demand with even a tiny model on {choice.n_chips} x {choice.chip.id} for "
        f"{scenario.settings['lifetime_days']:g} days costs about ${enough:,.0f}, over the budget of ${budget:,.0f}: "
        "raise --budget-usd, allow cheaper --chips, or shorten --lifetime-days",
        enough / budget - 1.0,
        {"budget_usd": enough},
    )


def too_sparse(scenario: Scenario, choice: Choice) -> Infeasible | None:
    """Return what is wrong with a given plan of more total over active parameters than are allowed, if it is one."""
    most = scenario.settings["max_sparsity"]
    if most <= 1.0 or choice.sparsity <= most * (1.0 + TOLERANCE):
        return None
    return Infeasible(
        "infeasible",
        "max_sparsity",
        f"the plan has {choice.sparsity:.4g} times as many total as active parameters, over --max-sparsity {most:g}: "
        f"raise --max-sparsity to {up(choice.sparsity)}, or give fewer --experts",
        choice.sparsity / most - 1.0,
        {"max_sparsity": choice.sparsity},
    )


def appraisal(
    scenario: Scenario, choice: Choice, told: Mapping[str, float], tokens_given: bool, known: Mapping[str, float]
) -> Infeasible | None:
    """Return what is wrong with a given plan on ``choice``, described by ``told``, if anything.

    ``known`` are nearest feasible limits that were tried.
    """
    target = told["target_loss"]
    floor = told["params_floor"]
    if not tokens_given and not math.isfinite(told["tokens"]):
        return Infeasible(
            "below-law-floor",
            "params",
            f"{told['params']:.4g} parameters cannot reach the target loss {target:.5g} with any amount of data "
            f"under {scenario.law.id}: --params must be above {up(floor)}",
            floor / told["params"] - 1.0,
            {"params": floor * 1.001},
        )
    if tokens_given and told["loss_nats"] > target * (1.0 + 1e-9):
        tokens, params = told["tokens_for_target"], told["params_for_target"]
        if math.isfinite(tokens):
            nearest, remedy = {"train_tokens": tokens}, f"--train-tokens to {up(tokens)}"
        elif math.isfinite(params):
            nearest, remedy = {"params": params}, f"--params to {up(params)}"
        else:
            nearest = {"params": 2.0 * floor, "train_tokens": told["tokens_at_twice_floor"]}
            remedy = f"--params and --train-tokens, for instance to {up(2.0 * floor)} and {up(nearest['train_tokens'])}"
        return Infeasible(
            "quality-missed",
            "target_loss",
            f"the plan reaches {told['loss_nats']:.5g} nats, short of the target {target:.5g}: raise {remedy}, "
            "or judge it at its own quality with --target-loss",
            told["loss_nats"] / target - 1.0,
            nearest,
        )
    over = np.array([[told[f"log_{name}_use"]] for name in CAPS])
    if over.max() <= TOLERANCE:
        return None
    worst = int(np.argmax(over[:, 0]))
    batch, best = told["batch"], told["useful_batch"]
    alone = over_caps(scenario, [choice], over, "this plan", known) if best <= 1.0 else None
    if alone:
        return alone
    name = ("memory", "--tpot-ms", "--ttft-ms", "what the engine runs at once")[worst]
    return Infeasible(
        "infeasible",
        CAPS[worst],
        f"a batch of {batch:g} uses {math.exp(over[worst, 0]):.3g} times the limit on {name}: lower --batch to "
        f"{down(best)}, the largest within all limits",
        math.expm1(over[worst, 0]),
        {"batch": float(best)},
    )

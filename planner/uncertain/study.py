"""How sure a plan is: solved again under draws of the law and of errors of the times, and the size that is best on all.

What is decided is the chip, the replica, the precision and the size N. Tokens then follow the loss as training shows
it, and batches the times as they are measured: under each draw the plan reaches the quality that was asked for, at
what that costs there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

import configs

from ..choices import Choice
from ..plan import Outcome, optimize
from ..scenario import Scenario
from .costs import SIZES, Costs
from .draws import Draws

DRAWS = 1000
COVERAGE = 0.9
SURE = 0.9  # a plan that is cheaper in fewer draws than this is a tie
SAME = 0.01  # relative: expected costs closer than this are a tie


@dataclass(frozen=True)
class Size:
    """A choice and a size: what is decided before anything is known, with its cost and tokens in every draw."""

    rival: int
    params: float
    cost: Float[np.ndarray, " n"]
    tokens: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Study:
    """An outcome under draws: what would have been best in each, and what the plan and the robust size cost there.

    ``best`` has params, tokens, cost and saving of the best plan of each draw, and which of ``rivals`` it is on.
    Costs are in the objective's unit. ``robust`` fails in the fewest draws, and of such sizes has the least mean cost,
    or with ``tail`` the least mean of so large a share of the worst draws; None unless asked for. ``by_law`` are the
    plans of the laws by themselves.
    """

    outcome: Outcome
    draws: Draws
    rivals: list[Choice]
    best: Mapping[str, Float[np.ndarray, " n"]]
    point: Size
    cheapest: Float[np.ndarray, "r n"]
    tail: float | None
    robust: Size | None
    by_law: list[Outcome]

    def regret(self, size: Size) -> Float[np.ndarray, " n"]:
        """Return by how much more than the best plan of each draw a size costs there, as a fraction."""
        with np.errstate(invalid="ignore"):  # neither has a plan
            return size.cost / self.best["cost"] - 1.0

    def risk(self, size: Size) -> float:
        """Return the mean cost of the draws in which a size can be had, or of their worst; inf if there is none."""
        return risk(size.cost, self.tail)[1]


def study(
    outcome: Outcome, count: int = DRAWS, laws: Sequence[str] = (), robust: bool = False, tail: float | None = None,
    seed: int = 0,
) -> Study:  # fmt: skip
    """Return a feasible outcome of `optimize` under ``count`` draws, of several ``laws`` in equal parts if named.

    Raises:
        ConfigError: a law that cannot be asked the same question, or a question that draws say nothing of.
    """
    scenario = outcome.scenario
    if "budget_usd" in scenario.settings:
        raise configs.ConfigError("--uncertainty needs --quality-like or --target-loss: a budget fixes the cost")
    named = list(dict.fromkeys(laws)) or [scenario.settings["law"]]
    if len(named) > 1 and "target_loss" in scenario.settings:
        raise configs.ConfigError("--laws needs --quality-like: each law measures loss on data of its own")
    by_law = [outcome if name == scenario.settings["law"] else _asked_of(scenario, name) for name in named]
    work = Costs(outcome, by_law, count, seed)
    sizes = work.sizes()
    costs, served, _ = work.table(sizes)
    best = work.best(sizes, costs, served)
    # The plan's own size, and sizes close together about the least risk: as near as the edges of tiles let one tell.
    near, rival = sizes[:, :1], 0
    if robust:
        cells = [(r, g) for r in range(len(work.rivals)) for g in range(SIZES)]
        rival, least = min(cells, key=lambda at: risk(costs[:, at[0], at[1]], tail))
        near = sizes[:, [least]] + (sizes[0, 1] - sizes[0, 0]) * np.linspace(-1.0, 1.0, SIZES - 1)
    here = np.full((len(work.rivals), 1), math.log(outcome.value("params")))
    nodes = np.concatenate([here, np.broadcast_to(near, (len(work.rivals), SIZES - 1))], axis=1)
    exact, _, needed = work.table(nodes)

    def held(r: int, g: int) -> Size:
        return Size(r, math.exp(nodes[r, g]), exact[:, r, g], np.exp(needed[:, r, g]))

    point = held(0, 0)
    every = [point, *(held(rival, g) for g in range(1, SIZES))]
    picked = min(every, key=lambda size: risk(size.cost, tail)) if robust else None
    cheapest = np.nanmin(np.where(np.isfinite(costs), costs, np.nan), axis=2, initial=np.inf).T
    return Study(outcome, work.draws, work.rivals, best, point, cheapest, tail, picked, by_law)


def risk(cost: Float[np.ndarray, " n"], tail: float | None) -> tuple[float, float]:
    """Return the share of draws that cannot be had, and the mean of the others (inf where there are none), or that of
    their worst share ``tail``: conditional value at risk (Rockafellar and Uryasev 2000)."""
    able = np.sort(cost[np.isfinite(cost)])
    worst = len(able) if tail is None else max(round(tail * len(able)), 1)
    return 1.0 - len(able) / len(cost), float(np.mean(able[-worst:])) if len(able) else math.inf


def _asked_of(scenario: Scenario, law: str) -> Outcome:
    """Return the plan of another law for the same question.

    Raises:
        ConfigError: it has none.
    """
    outcome = optimize(Scenario({**scenario.settings, "law": law}))
    if outcome.infeasible:
        raise configs.ConfigError(f"--laws: under {law} there is no plan: {outcome.infeasible.message}")
    return outcome

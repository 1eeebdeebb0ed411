"""The dollar objective against an independent geometric program, a dense grid, and random neighbours.

`oracle_gp` has the formulas of the condensed program written a second time; it takes over the residuals that the
search ended with (`test_condense` checks those). Scenarios are seeded; a failure prints the settings that
reproduce it.
"""

import math
import random
from dataclasses import replace
from typing import Any

import numpy as np
import oracle_gp
import pytest
from oracle_gp import Ask, Choice

import configs
from planner.choices import enumerate_choices
from planner.plan import Outcome, Planner, evaluate, optimize
from planner.scenario import Scenario

# The bar: the planner stops at a duality gap of 1e-9 of the cost and the oracle at 1e-8 at worst (1e-10 as a
# rule), so 1e-6 leaves a hundredfold margin, and is far below what any difference in a formula would make.
RELATIVE = 1e-6
# The same arithmetic done twice in double precision: a few hundred operations and powers.
ROUNDING = 1e-9
BLOCKS, PER_BLOCK = 20, 12  # 240 choices compared by cost, and the infeasible ones met on the way
PER_SCENARIO = 3  # choices of one scenario
NEIGHBOURHOODS, NEIGHBOURS = 12, 15
# The oracle writes the loss as the Chinchilla form.
LAWS = [name for name in sorted(configs.ids("laws")) if configs.load_law(name).form == "chinchilla"]


def between(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def draw(rng: random.Random, tight: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Draw all but the choices.

    ``tight`` promises are such that many choices cannot keep them; ``quiet`` demand is such that a single
    replica often meets it, where the cost has a corner and is flat in the batch.
    """
    return {
        "lifetime_tokens": between(rng, 1e9, 1e13 if quiet else 1e17),
        "quality_like": between(rng, 1e9, 3e11),
        "tpot_ms": between(rng, 1, 10) if tight else between(rng, 10, 1000),
        "ttft_ms": between(rng, 5, 200) if tight else between(rng, 100, 10000),
        "input_tokens": between(rng, 30, 20000),
        "output_tokens": between(rng, 30, 5000),
        "cached_fraction": rng.choice([0.0, rng.uniform(0.0, 0.95)]),
        "peak_to_mean": rng.uniform(1.0, 4.0),
        "lifetime_days": between(rng, 30, 2000),
        "law": rng.choice(LAWS),
    }


def draw_one_chip(rng: random.Random) -> dict[str, Any]:
    """Draw a scenario of one chip, any of those shipped, in any of its precisions."""
    settings = draw(rng, tight=rng.random() < 0.3)
    chip = configs.load_chip(rng.choice(sorted(configs.ids("chips"))))
    settings |= {"chips": [chip.id], "precision": rng.choice(sorted(chip.peak_flops_per_s))}
    if chip.usd_per_hour is None or rng.random() < 0.2:
        settings["chip_usd_per_hour"] = between(rng, 0.1, 10.0)
    return settings


def draw_chips(rng: random.Random, count: int, quiet: bool) -> dict[str, Any]:
    """Draw a scenario of several priced chips, each in bf16 and FP8 where it has it."""
    priced = [name for name in sorted(configs.ids("chips")) if configs.load_chip(name).usd_per_hour]
    return draw(rng, quiet=quiet) | {"chips": rng.sample(priced, count)}


class Solved:
    """A scenario as the planner's search leaves it: what it found, and the residuals of every choice."""

    def __init__(self, settings: dict[str, Any]):
        scenario = Scenario.of(settings)
        self.ask, self.choices = Ask.of(settings), oracle_gp.choices(settings)
        planner = Planner(scenario, enumerate_choices(scenario))
        planner._narrow = lambda *_: None  # moves a lone replica's batch, where costs are flat
        self.found = planner.solve(planner.given)
        self.ask = replace(self.ask, training=dict(planner.training["plan"]))
        self.residuals = [planner.condensed.of(int(lane)) for lane in self.found["own_lanes"]]
        self.lone = [int(lane) >= len(planner.valid) for lane in self.found["own_lanes"]]
        names = [(c.chip.id, c.n_chips, c.stages, c.precision) for c in planner.choices]
        assert names == [(c.chip.id, c.n, c.stages, c.precision) for c in self.choices]

    def slack(self, index: int) -> float:
        """Return by how much the choice's limits leave room."""
        return oracle_gp.slack(self.ask, self.choices[index], self.residuals[index])

    def oracle(self, index: int) -> oracle_gp.Plan | None:
        """Return the oracle's plan of the choice."""
        return oracle_gp.solve(self.ask, self.choices[index], self.residuals[index], self.lone[index])


def solvable(rng: random.Random, count: int, quiet: bool) -> tuple[dict[str, Any], Solved]:
    """Draw scenarios in one precision until one has a plan on some choice, by the oracle's word."""
    while True:
        settings = draw_chips(rng, count, quiet) | {"precision": "bf16"}
        solved = Solved(settings)
        if any(solved.slack(i) > 0 for i in range(len(solved.choices))):
            return settings, solved


@pytest.mark.parametrize("block", range(BLOCKS))
def test_each_choice_costs_what_the_geometric_program_says(block: int) -> None:
    rng = random.Random(1000 + block)
    compared, infeasible, worst, wrong = 0, 0, 0.0, []
    while compared < PER_BLOCK:
        settings = draw_one_chip(rng)
        solved = Solved(settings)
        for index in rng.sample(range(len(solved.choices)), PER_SCENARIO):
            choice, expected = solved.choices[index], solved.oracle(index)
            # The closed form of feasibility is exact, the solver's is not: it must not decide by rounding.
            assert (expected is not None) == (solved.slack(index) > 0), str(settings)
            feasible = bool(solved.found["ok"][index] > 0)
            compared += expected is not None
            infeasible += expected is None
            name = f"{choice.n} chips, {choice.stages} stages"
            if feasible != (expected is not None):
                wrong.append(f"{name}: feasible {feasible}, not {not feasible}: {settings}")
            elif expected:
                difference = float(solved.found["objective"][index]) / expected.usd - 1.0
                worst = max(worst, abs(difference))
                if abs(difference) > RELATIVE:
                    wrong.append(f"{name}: {difference:+.2e} of {expected.usd:.10g}: {settings}")
    print(f"compared {compared}, infeasible {infeasible}, worst {worst:.2e}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seed", range(6))
def test_the_plan_is_the_best_of_all_choices(seed: int) -> None:
    settings, solved = solvable(random.Random(2000 + seed), count=1, quiet=seed % 2 == 1)
    plans = [solved.oracle(i) for i in range(len(solved.choices))]
    best = min(plan.usd for plan in plans if plan)
    outcome = optimize(Scenario.of(settings))
    assert outcome.infeasible is None, str(settings)
    assert outcome.value("total_usd") == pytest.approx(best, rel=RELATIVE), str(settings)
    N, D, B = (outcome.value(name) for name in ("params", "tokens", "batch"))
    index = outcome.picked[0]
    if not solved.lone[index]:
        usd, over = oracle_gp.cost(solved.ask, solved.choices[index], solved.residuals[index], N, D, B)
        assert outcome.value("total_usd") == pytest.approx(float(usd), rel=ROUNDING), str(settings)
        assert over <= ROUNDING, str(settings)
    # The quality is reached: D magnifies a rounding error of the loss by 1 / (beta times the data's share).
    assert pytest.approx(float(solved.ask.tokens(N)), rel=1e-7) == D, str(settings)


@pytest.mark.parametrize("seed", range(6))
def test_never_above_a_dense_grid_over_all_choices(seed: int) -> None:
    rng = random.Random(3000 + seed)
    settings, solved = solvable(rng, count=1, quiet=seed % 2 == 1)
    points = [oracle_gp.grid(solved.ask, c, solved.residuals[i]) for i, c in enumerate(solved.choices)]
    usd = float(np.min(np.where(solved.found["ok"] > 0, solved.found["objective"], np.inf)))
    best = min(point.usd for point in points if point)
    # Every grid point is a plan: only the rounding of the two computations may put one below the optimum.
    assert usd <= best * (1.0 + ROUNDING), str(settings)
    # And the grid comes close, so the plan is no cheaper than a plan can be: around its best point the grid
    # is laid four times more, each ninety times as fine in ln N, down to steps below 1e-9.
    assert best <= usd * (1.0 + RELATIVE), str(settings)


def neighbour(
    rng: random.Random, settings: dict[str, Any], outcome: Outcome
) -> tuple[Choice, float, float | None, float | None]:
    """Draw a plan near or far from the optimum: (choice, N, B or the best, D or what reaches the loss)."""
    choices = oracle_gp.choices(settings)
    choice = here = choices[outcome.picked[0]]
    if rng.random() < 0.5:
        kinds = [
            [c for c in choices if c.chip == here.chip and c.precision == here.precision],
            [c for c in choices if c.chip == here.chip and c.n == here.n],
            choices,
        ]
        choice = rng.choice(rng.choice(kinds))
    size = between(rng, 1e-4, 1.0)  # of the change, in logarithms
    N = outcome.value("params") * math.exp(rng.uniform(-size, size))
    B = outcome.value("batch") * math.exp(rng.uniform(-size, size)) if rng.random() < 0.6 else None
    needed = float(Ask.of(settings).tokens(N))
    D = needed * math.exp(rng.uniform(0.0, size)) if rng.random() < 0.4 else None
    return choice, N, None if B is None else max(B, 1.0), D


@pytest.mark.parametrize("seed", range(NEIGHBOURHOODS))
def test_no_feasible_neighbour_is_cheaper(seed: int) -> None:
    rng = random.Random(4000 + seed)
    settings, _ = solvable(rng, count=rng.choice([1, 2]), quiet=seed % 2 == 1)
    outcome = optimize(Scenario.of(settings))
    assert outcome.infeasible is None, str(settings)
    best, feasible = outcome.value("total_usd"), 0
    for _ in range(NEIGHBOURS):
        choice, N, B, D = neighbour(rng, settings, outcome)
        if not math.isfinite(float(Ask.of(settings).tokens(N))):
            continue  # too small for the quality
        asked = settings | {"chips": [choice.chip.id], "precision": choice.precision}
        told = evaluate(Scenario.of(asked), N, choice.n, batch=B, tokens=D)
        if told.infeasible is not None:
            continue
        feasible += 1
        # 1e-9 is where the planner stops (its duality gap), as a share of the cost.
        assert told.value("total_usd") >= best * (1.0 - 1e-9), f"{settings} {(choice.chip.id, choice.n, N, B, D)}"
    assert feasible > 0

"""Plans of mixtures of experts against brute force: grids of size and experts, neighbours, and the sharp model."""

import math
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs
from planner import plan
from planner.choices import enumerate_choices, expansions
from planner.expansion import lowest
from planner.model.buildable import BuildableShape
from planner.model.generic import FFN_SHARE, TOPK, experts_at, sparsity_of
from planner.model.transformer import ShapeLaw
from planner.optimize.condense import search_form
from planner.optimize.problem import Problem
from planner.plan import evaluate, optimize
from planner.report.document import document
from planner.scenario import Scenario
from planner.search import case_at
from planner.serving.curve import instance_of_model
from planner.serving.ops import Load
from planner.serving.residuals import NONE
from scaling import law_of

GRID = 1e-4  # relative in cost: what a plan may be above the best point of a grid, and the grid above the plan
INSIDE = {"lifetime_tokens": 1e15, "law": "abnar-2025", "max_sparsity": 200, "chips": ["h100-sxm"], "precision": "fp8"}
BOUND = {**INSIDE, "max_sparsity": 8}
NEIGHBOURS = 40


@pytest.fixture(scope="module", params=["inside", "bound"])
def asked(request):
    """A question whose best number of experts lies inside what is allowed, and one where it is the most allowed."""
    return {"inside": INSIDE, "bound": BOUND}[request.param]


@pytest.fixture(scope="module")
def outcome(asked):
    return optimize(Scenario.of(asked))


@pytest.fixture(scope="module")
def found(asked):
    return plan._scanned(Scenario.of(asked), {})[-1]


@pytest.mark.parametrize("law", ["ludziejewski-2025", "abnar-2025"])
def test_flops_are_those_of_a_grid_of_sizes_and_experts(law):
    most, T, like = 8.0, 1e14, 70e9
    c = configs.load_law(law).coefficients
    with jax.enable_x64(True):
        dense = law_of(c)
        target = float(dense.loss(like, dense.compute_optimal_tokens(like)))
    N = np.geomspace(1e8, 1e12, 20001)
    best = np.inf
    for experts in np.geomspace(1.0, experts_at(most), 60):
        if law == "abnar-2025":
            s = sparsity_of(experts)
            left = target - c["e"] - c["c"] * s ** c["lambda_"] - c["a"] * (s * N) ** -c["alpha"]
            left = left - c["d"] * s ** c["delta"] * (s * N) ** -c["gamma"]
            scale, power = c["b"], -c["beta"]
        else:
            start = 1.0 / (1.0 / c["E_start"] - 1.0 / c["E_max"])
            F = 1.0 / (1.0 / (experts - 1.0 + start) + 1.0 / c["E_max"])
            left = target - c["c"] - c["a"] * F ** c["delta"] * N ** (c["alpha"] + c["gamma"] * np.log(F))
            scale, power = c["b"] * F ** c["omega"], c["beta"] + c["zeta"] * np.log(F)
        D = (np.maximum(left, 1e-12) / scale) ** (1.0 / power)
        best = min(best, float(np.min(6.0 * N * D + 2.0 * N * T)))
    asked = {"lifetime_tokens": T, "law": law, "max_sparsity": most, "objective": "flops", "quality_like": like}
    told = document(optimize(Scenario.of({**asked, "chips": ["h100-sxm"]})), "optimize")
    assert told["bill"]["total_flops"] == pytest.approx(best, rel=GRID)
    assert told["plan"]["total_params"] == pytest.approx(most * told["plan"]["active_params"])


def test_dollars_are_those_of_a_grid_of_sizes_experts_and_batches(found, asked):
    """Of the condensed program that the plan came from, on its choice; within reach of the residuals."""
    planner, solved = found.planner, found.solved
    best, lane = int(solved["best"]), int(solved["lane"])
    log_N, _, _ = solved["points"][0]
    left, flags = planner.condensed.of(lane), {"derive_tokens": True, "derive_batch": True}
    top = experts_at(asked["max_sparsity"])
    cost = []
    for experts in planner.experts * np.exp(np.linspace(-0.2, 0.2, 9)):
        moved = planner.with_experts(float(min(experts, top)))
        given = {**found.given, "training": planner.training}
        for at in log_N + np.linspace(-0.06, 0.06, 13):
            told = moved.describe(
                given, [best] * 3, [case_at((at + x, 0.0, 0.0), left, **flags) for x in (0, 2e-3, 4e-3)]
            )
            cost += list(told["total_usd"])
    usd = math.exp(float(solved["log_objective"]))
    assert usd <= min(cost) * (1.0 + 1e-9)
    assert min(cost) <= usd * (1.0 + GRID)


def test_other_numbers_of_experts_cost_more_when_searched_from_scratch(found, asked):
    """The promise of the scan: no number of experts between the tried ones is better by more than times' edges."""
    top = experts_at(asked["max_sparsity"])
    for factor in (0.6, 0.8, 1.25, 1.6):
        experts = found.planner.experts * factor
        if experts <= top:
            other = plan._searched(Scenario.of(asked), {}, experts)
            assert other.score > found.score - 2e-3, experts


def test_the_answer_says_what_it_is(outcome, asked):
    told = document(outcome, "optimize")
    p = told["plan"]
    assert p["total_params"] == pytest.approx(p["sparsity"] * p["active_params"])
    assert p["sparsity"] == pytest.approx(1.0 + FFN_SHARE * (p["experts"] - 1.0))
    assert p["sparsity"] <= asked["max_sparsity"] * (1.0 + 1e-9)
    assert told["bill"]["total_flops"] == pytest.approx(
        p["active_params"] * (6.0 * p["train_tokens"] + 2.0 * asked["lifetime_tokens"])
    )
    assert "experts were scanned" in told["message"]
    assert told["buildable"]["experts"] > TOPK
    assert told["buildable"]["total_params"] == pytest.approx(p["total_params"], rel=0.05)
    assert all(row["experts"] == p["experts"] for row in told["ranking"])
    assert ("max_sparsity" in told["elasticities"]) == (asked is BOUND)


@pytest.mark.parametrize("asked", ["bound"], indirect=True)
def test_more_sparsity_is_worth_what_a_plan_with_more_saves(found, outcome, asked):
    """With residuals and forms held, by central differences of the searched plan."""
    logs = []
    for factor in (0.99, 1.01):
        moved = found.planner.with_experts(float(experts_at(asked["max_sparsity"] * factor)))
        given = {**found.given, "training": moved.training}
        logs.append(float(moved.again(given)["log_objective"]))
    slope = (logs[1] - logs[0]) / math.log(1.01 / 0.99)
    assert document(outcome, "optimize")["elasticities"]["max_sparsity"] == pytest.approx(slope, rel=1e-3)
    assert slope < 0.0


def test_no_feasible_neighbour_is_cheaper(outcome, asked):
    rng = random.Random(5)
    best, feasible = outcome.value("total_usd"), 0
    for _ in range(NEIGHBOURS):
        far = math.exp(rng.uniform(math.log(1e-4), 0.0))
        N, B, experts = (
            x * math.exp(rng.uniform(-far, far))
            for x in (outcome.value("params"), outcome.value("batch"), outcome.choice.experts)
        )
        experts = 1.0 if rng.random() < 0.05 else max(experts, 1.0)
        chips = outcome.choice.n_chips * rng.choice([1, 1, 1, 2])
        told = evaluate(Scenario.of(asked), N, chips, B if rng.random() < 0.5 else None, experts=experts)
        if told.infeasible is None:
            feasible += 1
            assert told.value("total_usd") >= best * (1.0 - 1e-9), (N, B, experts, chips)
    assert feasible > NEIGHBOURS // 5


def test_evaluate_of_the_plan_is_the_plan(outcome, asked):
    v = outcome.value
    told = evaluate(Scenario.of(asked), v("params"), outcome.choice.n_chips, v("batch"), experts=outcome.choice.experts)
    assert told.value("total_usd") == pytest.approx(v("total_usd"), rel=1e-9)
    assert told.value("total_params") == pytest.approx(v("total_params"))
    wide = evaluate(Scenario.of({**asked, "max_sparsity": 2}), v("params"), 1, experts=outcome.choice.experts)
    assert wide.infeasible is not None
    assert wide.infeasible.limit == "max_sparsity"


def test_laws_of_dense_models_stay_dense():
    scenario = Scenario.of({"lifetime_tokens": 1e13, "max_sparsity": 8, "chips": ["h100-sxm"]})
    assert expansions(scenario) == [1.0]
    told = document(optimize(scenario), "optimize")
    assert told["plan"]["total_params"] == told["plan"]["active_params"]
    assert any("the plan stays dense" in said for said in told["warnings"])
    with pytest.raises(configs.ConfigError, match="law of dense models"):
        evaluate(scenario, 8e9, 1, experts=4.0)


def test_the_menu_ends_where_the_limit_binds():
    scenario = Scenario.of({"lifetime_tokens": 1e13, "max_sparsity": 8, "law": "ludziejewski-2025"})
    menu = expansions(scenario)
    assert menu[:4] == [1.0, 2.0, 4.0, 8.0]
    assert sparsity_of(menu[-1]) == pytest.approx(8.0)


@pytest.mark.parametrize(("low", "high", "least"), [(0.0, 1.0, 0.37), (0.0, 1.0, 2.0), (0.0, 1.0, -1.0)])
def test_the_lowest_point_of_a_valley_is_found(low, high, least):
    assert lowest(lambda x: math.cosh(x - least), low, high, 5) == pytest.approx(min(max(least, low), high), abs=2e-3)


@pytest.mark.parametrize("size", [3e9, 1e10, 1e11])
@pytest.mark.parametrize("experts", [2.0, 8.0, 32.0])
def test_the_shape_holds_what_it_says(size, experts):
    """Total parameters by the monomial, by the serving model's blocks, and of the shape to build."""
    scenario = Scenario.of({"lifetime_tokens": 1e13, "law": "abnar-2025", "chips": ["h100-sxm"], "precision": "bf16"})
    choice = next(c for c in enumerate_choices(scenario, experts=experts) if c.n_chips == 1)
    law = ShapeLaw(**scenario.numbers()["shape"])
    with jax.enable_x64(True):
        model = law.transformer(size, experts)
        held = float(instance_of_model(model.decoder(sparse=True), choice.machine()).weight_bytes()) / 2.0
        build = BuildableShape.nearest(law, jnp.asarray(size), jnp.asarray(experts)).transformer()
        assert float(model.total_params()) == pytest.approx(size * sparsity_of(experts))
        # Routers are extra: under 1 % of all. Rounding of heads and widths: 5 %.
        assert held == pytest.approx(float(model.total_params()), rel=0.01)
        assert float(build.total_params()) == pytest.approx(float(model.total_params()), rel=0.05)
        # One share for all sizes: blocks of the typical model hold so many times what is active of them.
        block = model.decoder(sparse=True).layers[0].feedforward
        assert block.topk == TOPK
        assert float(block.experts / TOPK - 1.0) / (experts - 1.0) == pytest.approx(1.0, abs=0.25)


def test_few_sequences_touch_few_experts():
    """Kernels read what is touched, 1 - (1 - 1 / E)^B of experts; the search's form reads one sequence's and stays
    below at any batch, so that the residual has the rest."""
    experts, size = 32.0, 5e9
    scenario = Scenario.of({"lifetime_tokens": 1e13, "law": "abnar-2025", "chips": ["h100-sxm"], "precision": "fp8"})
    choice = next(c for c in enumerate_choices(scenario, experts=experts) if c.n_chips == 8 and c.stages == 1)
    given = {**scenario.numbers(), "training": plan.Planner(scenario, [choice]).training}
    with jax.enable_x64(True):
        problem = Problem.of(given, choice.numbers(), NONE)
        model = problem.transformer(jnp.asarray(size))
        instance = instance_of_model(model.decoder(sparse=True), choice.machine())
        active, rates = float(model.params), []
        for batch in (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0):
            step = instance.step(Load(batch, 1500.0, 0.0, 1.0, 0.0))
            moved = sum(float(one.hbm_bytes) for one in step.times["experts"]) * choice.n_chips
            touched = float(model.touched_params(batch)) - active * (1.0 - FFN_SHARE)
            assert moved == pytest.approx(touched, rel=0.15)  # the share of blocks at this size, 0.68 against 0.65
            sharp = float(sum(step.seconds(instance.engine).values()))
            form = search_form(problem, jnp.asarray([size]), jnp.asarray([batch]), jnp.asarray([experts]))
            rates.append(float(form["step"][0]) / sharp)
    assert max(rates) < 1.0

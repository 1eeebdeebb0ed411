"""The condensed program against the calibrated model itself: times and slopes where a plan lies, and a fixed point."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from planner import plan
from planner.choices import enumerate_choices
from planner.model.transformer import ShapeLaw
from planner.optimize.condense import _SPREAD, search_form
from planner.optimize.problem import Problem
from planner.report.trust import certificate
from planner.scenario import Scenario
from planner.serving.curve import instance_of_model
from planner.serving.residuals import NONE, TIMES, log_residual
from planner.serving.steady import Lengths, blend

_POINTS = _SPREAD[2][0]
QUESTIONS = {
    "default": {"lifetime_tokens": 1e15},
    "memory": {"lifetime_tokens": 1e15, "tpot_ms": 500, "ttft_ms": 5000, "chips": ["a100-sxm"]},
    "first token": {"lifetime_tokens": 1e14, "ttft_ms": 60, "tpot_ms": 200, "input_tokens": 8000},
    "lone replica": {"lifetime_tokens": 3e11, "quality_like": 8e9, "chips": ["h100-sxm"]},
    "joules": {"lifetime_tokens": 1e14, "objective": "joules"},
    "tight": {"lifetime_tokens": 1e13, "tpot_ms": 15, "chips": ["h100-sxm", "l40s"]},
    "budget": {"lifetime_tokens": 1e13, "budget_usd": 1e7, "chips": ["h100-sxm"]},
    "across domains": {
        "lifetime_tokens": 1e14,
        "quality_like": 1e12,
        "train_days": 2000,
        "chips": ["h100-sxm"],
        "tpot_ms": 200,
    },
    "vllm": {"lifetime_tokens": 1e14, "engine": "vllm", "chips": ["h100-sxm"]},
    "a torus": {"lifetime_tokens": 1e14, "chips": ["tpu-v6e"], "quality_like": 8e9},
    "long prompts": {"lifetime_tokens": 1e14, "input_tokens": 30000, "output_tokens": 300, "ttft_ms": 5000},
    "small": {"lifetime_tokens": 1e14, "quality_like": 3e9},
}


def settled(question):
    scenario = Scenario.of(question)
    planner = plan.Planner(scenario, enumerate_choices(scenario))
    return planner, planner.solve(planner.given)


def passes(planner, index, log_N, log_B):
    """Return the seconds of each time, by a steady state built from its parts, and by the search's form."""
    given, choice = planner.given, planner.choices[index]
    machine = choice.machine()
    size, sequences = jnp.exp(jnp.asarray(log_N)), jnp.exp(jnp.asarray(log_B))
    model = ShapeLaw(**given["shape"]).transformer(size).decoder()
    cached = given["input_tokens"] * given["cached_fraction"]
    instance = instance_of_model(model, machine)
    state = blend(instance, Lengths(given["input_tokens"], cached, given["output_tokens"]), sequences)
    plain, mixed = np.asarray(state.plain_s(instance.engine)), np.asarray(state.mixed_s(instance.engine))
    prompt = (mixed - plain) / np.asarray(state.together) / choice.stages  # each stage for its part of the time
    exact = {"step": plain, "prefill": prompt, "first": np.asarray(state.ttft_s(instance.engine)) - plain}
    form = search_form(Problem.of(given, choice.numbers(), NONE), size, sequences)
    return exact, {name: np.asarray(values) for name, values in form.items()}


def plane(values):
    """Return value and slopes by size and batch of a least-squares plane through the points round a plan."""
    rows = np.column_stack([np.ones(len(_POINTS)), _POINTS])
    return np.linalg.lstsq(rows, values, rcond=None)[0]


@pytest.mark.parametrize("name", ["default", "first token", "across domains", "joules"])
def test_times_and_slopes_are_the_calibrated_ones(name):
    planner, solved = settled(QUESTIONS[name])
    point, lane = solved["points"][0], int(solved["lane"])
    exact, form = passes(planner, int(solved["best"]), point[0] + _POINTS[:, 0], point[2] + _POINTS[:, 1])
    left = planner.condensed.of(lane)
    for time in TIMES:
        whole, by_size, by_batch = plane(np.log(exact[time]))
        part, part_size, part_batch = plane(np.log(form[time]))
        residual = math.exp(log_residual(left[time], point[0], point[2]))
        # Of the whole time: within what the certificate says of the residual, a part of it.
        assert math.exp(part) + residual == pytest.approx(math.exp(whole), rel=1e-2), time
        here = math.exp(whole) - math.exp(part)
        size = (math.exp(whole) * by_size - math.exp(part) * part_size) / here
        batch = (math.exp(whole) * by_batch - math.exp(part) * part_batch) / here
        # Exponents move by parts of what is left of the way, and the edge of a tile among the points bends them.
        assert left[time]["params_exponent"] == pytest.approx(min(max(size, 0.0), 2.0), abs=0.2), time
        assert left[time]["batch_exponent"] == pytest.approx(min(max(batch, -1.0), 2.0), abs=0.2), time


def test_matching_equals_the_steady_state():
    """What the compiled program tells of a point equals a least-squares plane through `blend`, to rounding."""
    planner, _ = settled(QUESTIONS["first token"])
    at = {"log_N": np.array([math.log(2e10)]), "log_B": np.array([math.log(40.0)])}
    for index in (0, len(planner.choices) // 2, len(planner.choices) - 1):
        told = planner.condensed.match(planner.given, np.array([index]), at)
        exact, form = passes(planner, index, at["log_N"] + _POINTS[:, 0], at["log_B"] + _POINTS[:, 1])
        for time in TIMES:
            left = math.exp(plane(np.log(exact[time]))[0]) - math.exp(plane(np.log(form[time]))[0])
            assert math.exp(log_residual(told[time], **at)[0]) == pytest.approx(left, rel=1e-6), time


def test_a_plan_is_stationary():
    """Matching once more where it ended, and solving again, moves cost and plan by no more than stated."""
    planner, solved = settled(QUESTIONS["across domains"])
    once = planner.condensed.residuals
    told = planner.condensed.match(
        planner.given,
        np.arange(len(planner.choices)),
        {k: v[: len(planner.choices)] for k, v in solved["lanes"].items()},
    )
    lane, index = int(solved["lane"]), int(solved["best"])
    fresh = {time: {part: values.copy() for part, values in of.items()} for time, of in once.items()}
    for time in TIMES:
        for part in fresh[time]:
            fresh[time][part][lane] = told[time][part][index]
    again = planner._run(
        "solve", planner.given, planner.stacked, planner._question(fresh, np.zeros(len(planner.valid)))
    )
    assert again["objective"][index] == pytest.approx(solved["objective"][index], rel=5e-3)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_gap_is_small(name):
    outcome = plan.optimize(Scenario.of(QUESTIONS[name]))
    assert outcome.infeasible is None
    sure = certificate(outcome)
    assert sure["condensation_gap_fraction"] < 0.01
    assert sure["times_gap_fraction"] < 0.05
    assert 1 < sure["rounds"] <= 8


def test_choices_are_ranked_by_calibrated_times():
    """Those that may still win are matched where they end; what they cost is then what the kernels say."""
    planner, solved = settled({"lifetime_tokens": 1e14, "chips": ["h100-sxm", "h200-sxm"]})
    order = np.argsort(np.where(solved["ok"] > 0, solved["objective"], np.inf))[:3]
    for index in order:
        lane = int(solved["own_lanes"][index])
        log_N, log_B = solved["lanes"]["log_N"][lane], solved["lanes"]["log_B"][lane]
        new = planner.condensed.match(
            planner.given, np.array([index]), {"log_N": np.array([log_N]), "log_B": np.array([log_B])}
        )
        used = planner.condensed.of(lane)
        for time in TIMES:
            told, had = log_residual(new[time], log_N, log_B)[0], log_residual(used[time], log_N, log_B)
            assert told == pytest.approx(had, abs=0.05)


@pytest.mark.parametrize(
    ("chip", "n_chips", "size", "batch"),
    [("h100-sxm", 16, 70e9, 64.0), ("h100-sxm", 32, 70e9, 64.0), ("l4", 32, 30e9, 30.0), ("mi300x", 8, 200e9, 40.0),
     ("h100-sxm", 1, 8e9, 100.0), ("tpu-v6e", 1, 1.56e9, 15.5), ("gaudi3", 2, 20e9, 50.0)],
)  # fmt: skip
def test_a_given_plan_takes_the_seconds_of_the_steady_state(chip, n_chips, size, batch):
    """Far from the optimum, with and without a pipeline, TPOT and TTFT are those of `blend` where the plan lies."""
    question = {"lifetime_tokens": 1e14, "chips": [chip], "tpot_ms": 2000, "ttft_ms": 60000, "chip_usd_per_hour": 2.0,
                "input_tokens": 1000, "output_tokens": 200, "precision": "bf16"}  # fmt: skip
    told = plan.evaluate(Scenario.of(question), size, n_chips, batch=batch, tokens=1e13)
    choice = told.choice
    model = ShapeLaw(**Scenario.of(question).numbers()["shape"]).transformer(size).decoder()
    state = blend(instance_of_model(model, choice.machine()), Lengths(1000.0, 0.0, 200.0), jnp.asarray(batch))
    engine = instance_of_model(model, choice.machine()).engine
    # Planes through 24 points leave out the edge of a tile at one of them, 4 % at worst; `tpot_s` of a plan waits for
    # the prompts of all B sequences, of a sequence for those of the others.
    others = (batch - 1.0) / batch
    waited = told.value("tpot_s") - told.value("step_s")
    assert told.value("step_s") + others * waited == pytest.approx(float(state.tpot_s(engine)), rel=0.05)
    assert told.value("ttft_s") == pytest.approx(float(state.ttft_s(engine)), rel=0.08)


def test_a_budget_is_spent_on_a_choice_that_it_suffices_for():
    """A choice that could not afford anything has residuals of no plan: it must not win with them."""
    question = {"lifetime_tokens": 1e15, "budget_usd": 2e7, "chips": ["mi300x"], "tpot_ms": 20}
    bought = plan.optimize(Scenario.of(question))
    assert bought.value("total_usd") == pytest.approx(2e7, rel=1e-3)
    assert certificate(bought)["condensation_gap_fraction"] < 0.01
    N, B, n_chips = bought.value("params"), bought.value("batch"), bought.choice.n_chips
    asked = {"lifetime_tokens": 1e15, "target_loss": bought.value("loss_nats"), "chips": ["mi300x"], "tpot_ms": 20,
             "precision": bought.choice.precision}  # fmt: skip
    judged = plan.evaluate(Scenario.of(asked), N, n_chips, batch=B * 0.999)
    assert judged.infeasible is None
    assert judged.value("total_usd") == pytest.approx(2e7, rel=5e-3)

"""Training within plans: deadlines and chips as limits, the form that stands for the run, and what is refused."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest

from planner import plan
from planner.cli.main import main
from planner.report.document import document, training
from planner.scenario import Scenario
from planner.schooling import Schools, log_chip_seconds
from planner.train.chips import find
from planner.train.question import Question

ASK = {"lifetime_tokens": 1e15, "chips": ["h100-sxm"]}
CAPPED = {**ASK, "train_days": 30, "train_chips": 800}


def run_of(**changes):
    outcome = plan.optimize(Scenario.of({**ASK, **changes}))
    assert outcome.infeasible is None
    return outcome, training(outcome)


def test_without_a_word_a_run_takes_ninety_days():
    _, run = run_of()
    assert run["days"] == pytest.approx(90.0, rel=1e-2)  # a plane through points where they are exactly that
    assert run["chip_hours"] == pytest.approx(run["chips"] * run["days"] * 24.0, rel=1e-9)
    assert run["held_by"] is None


def test_fewer_chips_take_longer_and_a_deadline_takes_more():
    free, capped, hurried = run_of()[1], run_of(train_chips=200)[1], run_of(train_days=20)[1]
    assert capped["chips"] <= 200.0 * (1 + 1e-6) < free["chips"]
    assert capped["days"] > free["days"]
    assert hurried["days"] == pytest.approx(20.0, rel=1e-9)
    assert hurried["chips"] > 3.0 * free["chips"]


def test_a_deadline_on_few_chips_moves_the_plan_towards_compute_optimal():
    free, _ = run_of()
    held, run = run_of(train_days=30, train_chips=800)
    assert run["held_by"] == "train_chips"
    assert 0.98 * 800 < run["chips"] <= 800.0 * (1 + 1e-6)
    assert held.value("params") > free.value("params")
    assert held.value("total_usd") > free.value("total_usd")
    answer = document(held, "optimize")
    assert answer["elasticities"]["train_chips"] < 0.0
    more, _ = run_of(train_days=30, train_chips=880)
    slope = math.log(more.value("total_usd") / held.value("total_usd")) / math.log(1.1)
    # A slope over 2 % against one over 10 %, of a curve that flattens.
    assert answer["elasticities"]["train_chips"] == pytest.approx(slope, rel=0.3)


def test_no_plan_within_the_limits_is_cheaper():
    """Sizes on both sides of the plan, judged by `evaluate` under the same limits."""
    held, _ = run_of(train_days=30, train_chips=800)
    best, judged = held.value("total_usd"), 0
    for factor in np.geomspace(0.6, 1.6, 11):
        told = plan.evaluate(Scenario.of(CAPPED), held.value("params") * factor, held.choice.n_chips)
        if told.infeasible is None:
            judged += 1
            # The plan keeps 0.1 % of the limit free, and forms are planes through the edges of tiles.
            assert told.value("total_usd") >= best * (1.0 - 0.005)
        elif factor < 0.95:
            assert told.infeasible.limit == "train_chips"
    assert judged >= 4


@pytest.mark.parametrize(
    "asked",
    [{"train_days": 10, "train_chips": 100}, {"train_days": 0.5}, {"train_days": 3, "train_chips": 20}],
    ids=["chips", "days", "both"],
)
def test_what_cannot_be_trained_is_refused_with_what_would_do(asked):
    refused = plan.optimize(Scenario.of({**ASK, **asked})).infeasible
    assert refused is not None
    assert refused.limit in ("train_chips", "train_days")
    assert refused.excess_fraction > 0.0
    assert refused.nearest
    for name, value in refused.nearest.items():
        relaxed = math.ceil(value * 1.02) if name == "train_chips" else value * 1.02
        again = plan.optimize(Scenario.of({**ASK, **asked, name: relaxed}))
        assert again.infeasible is None, (name, value)


def test_a_given_plan_that_takes_too_many_chips_is_refused():
    told = plan.evaluate(Scenario.of({**ASK, "train_days": 30, "train_chips": 100}), 16e9, 1)
    assert told.infeasible is not None
    assert told.infeasible.limit == "train_chips"
    fine = plan.evaluate(Scenario.of({**ASK, "train_days": 30, "train_chips": 100000}), 16e9, 1)
    assert fine.infeasible is None


def test_a_budget_is_spent_within_the_limits():
    asked = {"lifetime_tokens": 1e13, "budget_usd": 1e7, "chips": ["h100-sxm"]}
    free = plan.optimize(Scenario.of(asked))
    most = 0.3 * training(free)["chips"] * 90.0 / 30.0
    held = plan.optimize(Scenario.of({**asked, "train_days": 30, "train_chips": round(most)}))
    assert held.infeasible is None
    assert training(held)["chips"] <= round(most) * (1 + 1e-3)
    assert held.value("total_usd") <= 1e7 * (1 + 1e-3)
    assert held.value("loss_nats") > free.value("loss_nats")


def test_the_form_is_near_the_run_that_train_finds():
    """Chip-hours of whole layouts, all of them, against the plane through fractional ones: rounding and a menu."""
    for asked in ({}, {"train_days": 20}, {"lifetime_tokens": 1e13}, {"chips": ["tpu-v6e"]}):
        outcome, run = run_of(**asked)
        question = Question.of(
            {
                "params": outcome.value("params"),
                "tokens": outcome.value("tokens"),
                "chip": run["chip"],
                "days": run["days"],
            }
        )
        found = find(question).space
        hours = float(found.days[0]) * 24.0 * found.ways[0].chips
        assert hours == pytest.approx(run["chip_hours"], rel=0.1)


def test_the_form_has_value_and_slopes_of_runs_round_it():
    schools = Schools(Scenario.of({**ASK, "train_days": 60}))
    log_N, log_D = math.log(2e10), math.log(2e13)
    here = schools.match(log_N, log_D)
    for size, tokens in ((0.1, 0.0), (-0.1, 0.0), (0.0, 0.15), (0.1, -0.15)):
        there = schools.match(log_N + size, log_D + tokens)
        exact = log_chip_seconds(there.form, log_N + size, log_D + tokens)
        # Planes through different points of one bumpy surface: layouts and tiles change by a few per cent.
        assert log_chip_seconds(here.form, log_N + size, log_D + tokens) == pytest.approx(exact, abs=0.03)


def test_a_longer_deadline_never_costs_more():
    costs = [run_of(train_days=days)[0].value("total_usd") for days in (15, 40, 120, 400)]
    assert all(later <= sooner * 1.002 for sooner, later in pairwise(costs))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--train-days", "soon"], "is not a number"),
        (["--train-days", "0"], "outside"),
        (["--train-chips", "0.5"], "outside"),
        (["--train-on", "h1000"], "did you mean"),
        (["--train-on", "m3-max"], "has no rental price"),
        (["--train-on", "h100-sxm,m3-max"], "has no rental price"),
        (["--train-chips", "3.5"], "must be a whole number"),
        (["--train-on", "h100-sxm,,b200-sxm"], "single commas"),
        (["--train-precision", "fp8", "--train-on", "a100-sxm"], "no matrix units"),
        (["--train-precision", "fp5"], "must be one of"),
    ],
)
def test_bad_input_is_told_in_one_sentence(words, said, capsys):
    assert main(["optimize", "--lifetime-tokens", "1e15", *words]) == 2
    out = capsys.readouterr()
    assert said in out.err
    assert out.err.count("\n") == 1


def test_the_document_has_the_run(capsys):
    assert main(["optimize", "--lifetime-tokens", "1e14", "--train-on", "h200-sxm", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    run = answer["training"]
    assert run["chip"] == "h200-sxm"
    assert answer["bill"]["training_usd"] == pytest.approx(run["chip_hours"] * run["usd_per_chip_hour"], rel=1e-6)
    assert "train_chip.usd_per_hour" in answer["elasticities"] or answer["plan"]["chip"] == "h200-sxm"
    low, high = run["interval"]["chip_hours"]
    assert low < run["chip_hours"] < high
    assert 0.1 < run["mfu"] < 0.8

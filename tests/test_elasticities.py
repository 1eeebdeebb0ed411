"""Elasticities by the envelope theorem against central differences of plans solved anew."""

import math
from copy import deepcopy

import numpy as np
import pytest

from planner import plan
from planner.choices import enumerate_choices
from planner.plan import Planner
from planner.report.document import document
from planner.report.elasticities import elasticities
from planner.scenario import Scenario
from planner.schooling import log_chip_seconds
from planner.slopes import moved

H = 1e-4  # relative step: the third-order term it leaves is below 1e-6 for curvatures met here
QUESTIONS = {
    "default": {"lifetime_tokens": 1e15},
    "memory": {"lifetime_tokens": 1e15, "tpot_ms": 500, "ttft_ms": 5000, "chips": ["a100-sxm"]},
    "first token": {"lifetime_tokens": 1e14, "ttft_ms": 60, "tpot_ms": 200, "input_tokens": 8000},
    "lone replica": {"lifetime_tokens": 3e11, "quality_like": 8e9, "chips": ["h100-sxm"]},
    "joules": {"lifetime_tokens": 1e14, "objective": "joules"},
    "flops": {"lifetime_tokens": 1e13, "objective": "flops"},
    "target": {"lifetime_tokens": 1e15, "target_loss": 2.0, "law": "hoffmann-2022"},
    "budget": {"lifetime_tokens": 1e13, "budget_usd": 1e7, "chips": ["h100-sxm"]},
    "across domains": {
        "lifetime_tokens": 1e14,
        "quality_like": 1e12,
        "train_days": 2000,
        "chips": ["h100-sxm"],
        "tpot_ms": 200,
    },
    "in a hurry": {"lifetime_tokens": 1e14, "train_days": 20, "chips": ["h100-sxm"]},
    "few chips to train on": {"lifetime_tokens": 1e14, "train_chips": 64, "chips": ["h100-sxm"]},
    "trained elsewhere": {"lifetime_tokens": 1e14, "train_on": ["h200-sxm"], "chips": ["h100-sxm"]},
}


def _set(tree, path, factor):
    *heads, last = path.split(".")
    for head in heads:
        tree = tree[head]
    tree[last] = tree[last] * factor


def _settled(question):
    """Return a planner whose residuals are those of the plan, the plan's choice and point, and its target loss."""
    scenario = Scenario.of(question)
    planner = Planner(scenario, enumerate_choices(scenario))
    given, held, found = planner.given, None, None
    if planner.budget is not None:
        found = planner.best_loss(given)
        held = planner.condensed.residuals
        given = planner.numbers(target_loss=float(np.where(found["ok"] > 0, found["loss_nats"], np.inf).min()))
    solved = planner.solve(given, bought=found)
    return planner, solved, held


def _shifted(planner, solved, residuals, name, factor):
    """Return ``residuals`` with those of the plan moved as one input moves them: new values, the same exponents.

    Kernels jump at the edges of tiles, so their slopes are those of steps of 5 %, of lengths of a line over 15 %.
    """
    lane, index, point = int(solved["lane"]), int(solved["best"]), solved["points"][0]
    logs = np.linspace(-0.15, 0.15, 11) if name in ("input_tokens", "output_tokens") else np.log([0.95, 1.05])
    found = [moved(planner.condensed, planner.given, index, point, name, math.exp(log)) for log in logs]
    out = {time: {part: values.copy() for part, values in of.items()} for time, of in residuals.items()}
    for time, of in out.items():
        line = np.polynomial.Polynomial.fit(logs, [one[time] for one in found], 1)
        of["log"][lane] += float(line.deriv()(0.0)) * math.log(factor)
    return out


def _train(planner, point, form, name, factor):
    """Move a training run's form as one input moves it: its price at once, its chip-seconds by the slope of a step of
    5 % over layouts chosen anew."""
    school = planner.school
    head, *key = name.split(".")
    if key[-1] in ("usd_per_s", "power_w"):
        form[key[-1]] *= factor
    inputs = [("bill" if head == "failures" else "chip", key[-1])]
    if key[0] == "peak_flops_per_s":
        wide = [("chip", "wide_flops_per_s")] if key[1] == "bf16" else []
        inputs = wide + ([("chip", "narrow_flops_per_s")] if key[1] == school.question.precision else [])
    given = school.question.numbers()
    for table, one in inputs:
        if one in given[table] and one not in ("usd_per_chip_s", "power_w"):
            logs = []
            for step in (0.95, 1.05):
                moved = {**given, table: {**given[table], one: given[table][one] * step}}
                matched = planner.schools._matched(school.question, point[0], point[1], moved)
                logs.append(log_chip_seconds(matched.form, point[0], point[1]))
            form["log"] += (logs[1] - logs[0]) / math.log(1.05 / 0.95) * math.log(factor)


def _resolved(settled, name, factor, kernels):
    """Return ln(objective) of the whole question solved anew with one input scaled.

    The residuals that complete the search's form are recomputed where the plan lies, their exponents held: what slopes
    promise. With the exponents free tiles make costs jump by more than the steps taken here.
    """
    planner, solved, held = settled
    paths = {"tpot_ms": "tpot_s", "ttft_ms": "ttft_s", "lifetime_days": "lifetime_s"}
    path = paths.get(name, name)
    path = path.replace("usd_per_hour", "usd_per_s")
    lone = (np.arange(len(planner.valid)) == int(solved["lane"]) - len(planner.valid)).astype(float)
    residuals = held or planner.condensed.residuals
    if kernels:
        residuals = _shifted(planner, solved, residuals, path, factor)
    given, stacked, budget = deepcopy(planner.given), deepcopy(planner.stacked), planner.budget
    tree = stacked if path.startswith(("chip.", "precision.", "engine.")) else given
    machines_only = path in ("chip.link_bytes_per_s", "chip.scale_out_bytes_per_s")
    here = planner.school.chip.id == planner.choices[int(solved["best"])].chip.id
    if path.startswith(("failures.", "chip." if here else "train_chip.")):
        _train(planner, solved["points"][0], given["training"]["plan"], path, factor)
    if path != "budget_usd" and not machines_only and not path.startswith(("failures.", "train_chip.")):
        _set(tree, path, factor)
    if budget is not None:
        purse = planner._purse(residuals, lone) | {"budget": budget * (factor if path == "budget_usd" else 1.0)}
        found = planner._run("best_loss", given, stacked, purse)
        return math.log(np.where(found["ok"] > 0, found["loss_nats"], np.inf)[int(solved["best"])])
    found = planner._run("solve", given, stacked, planner._question(residuals, lone))
    return math.log(found["objective"][int(solved["best"])])


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_elasticity_equals_central_differences(question):
    outcome = plan.optimize(Scenario.of(question))
    assert outcome.infeasible is None
    found = elasticities(outcome)
    assert len(found) > 30
    settled = _settled(question)
    for name, value in found.items():
        kernels = name in outcome.slopes["calibrated"]
        up, down = (_resolved(settled, name, 1 + sign * H, kernels) for sign in (1, -1))
        slope = (up - down) / (math.log1p(H) - math.log1p(-H))
        # 1e-4 is the accuracy promised; differences of ln(cost) carry 1e-12 / H of rounding.
        assert value == pytest.approx(slope, abs=1e-4), name


def test_questions_cover_every_limit():
    limits = {document(plan.optimize(Scenario.of(q)), "optimize")["batch_limit"] for q in QUESTIONS.values()}
    assert {"hbm", "tpot", "ttft", "demand"} <= limits


def test_homogeneity():
    """Prices scale the bill; all seconds and rates together nearly so."""
    found = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e15})))
    assert found["chip.usd_per_hour"] == pytest.approx(1.0, abs=1e-9)
    # Doubling every second (rates halved, latencies and overheads doubled) doubles the chip-seconds, but for the
    # latencies that are constants of the kernels and no inputs: 8 % of the seconds here.
    rates = [
        *(f"chip.peak_flops_per_s.{p}" for p in ("bf16", "fp8", "int8", "fp4")),
        "chip.hbm_bytes_per_s", "chip.link_bytes_per_s", "chip.scale_out_bytes_per_s",
    ]  # fmt: skip
    times = ["tpot_ms", "ttft_ms", *(name for name in found if name.startswith("engine.") and name.endswith("_s"))]
    slower = sum(found[t] for t in times) - sum(found.get(r, 0.0) for r in rates)
    assert 0.85 < slower < 1.0


def test_quality_like_holds_the_reducible_loss():
    """At a quality given by likeness the irreducible loss cancels; at a target loss it does not."""
    like = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e14})))
    target = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e14, "target_loss": 1.98})))
    assert abs(like["law.E"]) < 1e-9
    assert target["law.E"] > 0.5
    assert "target_loss" not in like
    assert "quality_like" not in target

"""Elasticities by the envelope theorem against central differences of plans solved anew."""

import math

import numpy as np
import pytest

from planner import plan
from planner.choices import enumerate_choices
from planner.plan import Planner
from planner.report.document import document
from planner.report.elasticities import elasticities
from planner.scenario import Scenario

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
    "across domains": {"lifetime_tokens": 1e14, "quality_like": 3e12, "chips": ["h100-sxm"], "tpot_ms": 200},
}


def _set(tree, path, factor):
    *heads, last = path.split(".")
    for head in heads:
        tree = tree[head]
    tree[last] = tree[last] * factor


def _resolved(question, name, factor):
    """Return ln(objective) of the whole question solved anew with one input scaled."""
    scenario = Scenario.of(question)
    planner = Planner(scenario, enumerate_choices(scenario))
    paths = {"tpot_ms": "tpot_s", "ttft_ms": "ttft_s", "lifetime_days": "lifetime_s"}
    path = paths.get(name, name)
    path = "chip.usd_per_s" if path == "chip.usd_per_hour" else path
    in_choice = path.startswith(("chip.", "precision."))
    _set(planner.stacked if in_choice else planner.given, path, factor) if path != "budget_usd" else None
    if planner.budget is not None:
        planner.budget *= factor if path == "budget_usd" else 1.0
        found = planner.best_loss(planner.given)
        return math.log(np.where(found["ok"] > 0, found["loss_nats"], np.inf).min())
    return float(planner.solve(planner.given)["log_objective"])


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_every_elasticity_equals_central_differences(question):
    outcome = plan.optimize(Scenario.of(question))
    assert outcome.infeasible is None
    found = elasticities(outcome)
    assert len(found) > 30
    for name, value in found.items():
        up, down = _resolved(question, name, 1 + H), _resolved(question, name, 1 - H)
        slope = (up - down) / (math.log1p(H) - math.log1p(-H))
        # 1e-4 is the accuracy promised; differences of ln(cost) carry 1e-12 / H of rounding.
        assert value == pytest.approx(slope, abs=1e-4), name


def test_questions_cover_every_limit():
    limits = {document(plan.optimize(Scenario.of(q)), "optimize")["batch_limit"] for q in QUESTIONS.values()}
    assert {"hbm", "tpot", "ttft", "demand"} <= limits


def test_homogeneity():
    """Prices scale the bill; all seconds and rates together leave ratios alone."""
    found = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e15})))
    assert found["chip.usd_per_hour"] == pytest.approx(1.0, abs=1e-9)
    # Doubling every second (rates halved, latencies and overheads doubled) doubles the chip-seconds.
    rates = [
        *(f"chip.peak_flops_per_s.{p}" for p in ("bf16", "fp8", "int8", "fp4")),
        "chip.hbm_bytes_per_s", "chip.link_bytes_per_s", "chip.scale_out_bytes_per_s",
    ]  # fmt: skip
    times = ["tpot_ms", "ttft_ms", "engine.hop_latency_s", "engine.layer_overhead_s", "engine.sequence_overhead_s"]
    slower = sum(found[t] for t in times) - sum(found.get(r, 0.0) for r in rates)
    assert slower == pytest.approx(1.0, abs=1e-7)


def test_quality_like_holds_the_reducible_loss():
    """At a quality given by likeness the irreducible loss cancels; at a target loss it does not."""
    like = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e14})))
    target = elasticities(plan.optimize(Scenario.of({"lifetime_tokens": 1e14, "target_loss": 1.98})))
    assert abs(like["law.E"]) < 1e-9
    assert target["law.E"] > 0.5
    assert "target_loss" not in like
    assert "quality_like" not in target

"""The latency-cost curve against every batch there is, its tiers, and the fleet that they share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.estimate.answer import estimate
from planner.estimate.point import evaluate
from planner.estimate.question import Question
from planner.frontier.answer import frontier
from planner.frontier.curve import Points, curve, points
from planner.frontier.limits import limits
from planner.frontier.tiers import Asked, mix, tiers, within

ASKED = Asked(fast_speedup=2.5, peak_to_mean=1.226, fast_share=0.1, batch_share=None)
SMALL = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 2.0, "input_tokens": 2000.0, "output_tokens": 500.0}


@pytest.fixture(scope="module")
def question():
    return Question.of(SMALL)


@pytest.fixture(scope="module")
def found(question):
    return curve(question)


@pytest.fixture(scope="module")
def every(question):
    """Every whole batch of every layout."""
    most = points(question, question.splits, np.array([1.0])).most
    return points(question, question.splits, np.arange(1.0, most.max() + 1.0))


def test_nothing_beats_the_curve_by_more_than_its_steps(found, every):
    # Between two batches of the curve, up to 9 % apart, a cheaper one may lie at the same time per token.
    best = found.least_cost(every.tpot_s)
    assert (best <= 1.1 * every.output_s).all()
    assert np.median(best / every.output_s) <= 1.0
    assert found.pareto().tpot_s[0] == every.tpot_s.min()
    assert found.pareto().output_s[-1] <= every.output_s.min() * 1.01


@pytest.mark.parametrize("times", [1.0, 1.03, 1.3, 2.0, 5.0, 20.0])
def test_within_a_limit_the_batch_is_the_best_there_is(question, found, every, times):
    limit = times * every.tpot_s.min()
    kept = every.output_s[every.tpot_s <= limit].min()
    spot = within(question, found, limit)
    assert spot.tpot_s <= limit
    # The last batch within a limit is found; where tiles make an earlier one cheaper, by 1 % at most here.
    assert spot.output_s == pytest.approx(kept, rel=0.01)


def test_a_point_is_what_estimate_says_of_it(question, found):
    best = found.pareto()
    for i in (0, len(best.batch) // 2, -1):
        spot = best.at(i)
        told = estimate(
            Question.of({**SMALL, "batch": spot.batch, **{k: float(v) for k, v in spot.split._asdict().items()}})
        )
        assert told["tpot_s"] == pytest.approx(spot.tpot_s, rel=1e-9)
        rent = configs.load_chip("h100-sxm").usd_per_hour / 3600.0 * 1e6
        assert told["usd_per_mtok"]["output"] == pytest.approx(rent * spot.output_s, rel=1e-9)
        assert told["usd_per_mtok"]["input"] == pytest.approx(rent * spot.input_s, rel=1e-9)


def some_points(times, costs):
    n = len(times)
    one = np.ones(n)
    return Points((), one, np.zeros(n, int), one, np.array(times), one, one, np.array(costs), one, one)


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)), min_size=1, max_size=40))
def test_the_curve_is_what_no_point_beats(pairs):
    times, costs = zip(*pairs, strict=True)
    all_, best = some_points(times, costs), some_points(times, costs).pareto()
    assert (np.diff(best.tpot_s) > 0.0).all()
    assert (np.diff(best.output_s) < 0.0).all()
    kept = set(zip(best.tpot_s, best.output_s, strict=True))
    for t, c in pairs:
        beaten = any((a <= t and b <= c) and (a, b) != (t, c) for a, b in pairs)
        assert ((t, c) in kept) == (not beaten)
    for t in times:
        assert all_.least_cost(np.array([t]))[0] == min(c for a, c in pairs if a <= t)


def test_standard_is_where_shared_and_own_time_balance():
    # A pass of a + b B seconds: the least product of time and cost is at B = a / b, on one chip of a textbook engine
    # whose weights take 5 ms; memory and arithmetic are not added there, so that caches alone grow with B.
    asked = {**SMALL, "chips": 1.0, "engine": "ideal", "cached_tokens": 1999.0}
    question = Question.of(asked)
    found = curve(question)
    standard = tiers(question, found, ASKED)[1].spot
    one, more = (points(question, question.splits, np.array([b])).pass_s[0] for b in (1.0, standard.batch))
    own = (more - one) / (standard.batch - 1.0)
    assert standard.batch == pytest.approx((one - own) / own, rel=0.1)


def test_tiers_rise_in_speed_and_price(question, found):
    fast, standard, batch = tiers(question, found, ASKED)
    assert fast.spot.tpot_s < standard.spot.tpot_s < batch.spot.tpot_s
    assert fast.spot.output_s > standard.spot.output_s > batch.spot.output_s
    assert standard.spot.tpot_s / fast.spot.tpot_s >= 2.5
    assert tiers(replace(question, limits={"tpot_s": 1e-6}), found, ASKED) is None


@pytest.mark.parametrize("batch_share", [None, 0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("peak", [1.0, 1.226, 3.0])
def test_the_shared_fleet_is_paid_for_exactly(question, found, batch_share, peak):
    asked = replace(ASKED, peak_to_mean=peak, batch_share=batch_share)
    chosen = tiers(question, found, asked)
    told = mix(question, found, chosen, asked)
    alone = chosen[1].seconds(question)["request"]
    shares, multiples = told["shares"], told["batch"]["price_multiple"]
    prices = {"fast": told["fast"]["price_multiple"], "standard": told["standard"]["price_multiple"]}
    prices["batch"] = multiples["proportional"]
    assert sum(shares.values()) == pytest.approx(1.0)
    assert 0.0 <= multiples["least"] <= multiples["proportional"] <= multiples["most"] * (1.0 + 1e-12)
    paid = sum(shares[name] * prices[name] for name in shares)
    urgent = sum(shares[tier.name] * tier.seconds(question)["request"] for tier in chosen[:2]) / alone
    added = multiples["least"] * shares["batch"]
    assert paid == pytest.approx(urgent + added, rel=1e-9)  # all of the fleet for the peak, and what batch adds
    assert told["utilisation"] <= 1.0 + 1e-12
    if batch_share == 0.0:
        assert told["utilisation"] == pytest.approx(1.0 / peak)
    if peak == 1.0:
        assert told["trough_share"] == 0.0


def test_dollars_follow_the_rent_and_ratios_do_not():
    once, twice = (frontier(Question.of({**SMALL, "chip_usd_per_hour": usd}), ASKED, True) for usd in (2.0, 4.0))
    for a, b in zip(once["points"], twice["points"], strict=True):
        assert b["usd_per_mtok_output"] == pytest.approx(2.0 * a["usd_per_mtok_output"])
        assert (a["batch"], a["chips"], a["tpot_s"]) == (b["batch"], b["chips"], b["tpot_s"])
    for a, b in zip(once["tiers"], twice["tiers"], strict=True):
        assert b["price_multiple"] == pytest.approx(a["price_multiple"])
    assert twice["mix"]["batch"]["discount"] == pytest.approx(once["mix"]["batch"]["discount"])
    assert twice["limits"]["slow_usd_per_mtok_output"] == pytest.approx(
        2.0 * once["limits"]["slow_usd_per_mtok_output"]
    )


def test_the_ends_of_a_textbook_engine_are_those_of_the_blackboard():
    question = Question.of({**SMALL, "chips": 1.0, "engine": "ideal", "precision": "bf16", "cached_tokens": 1999.0})
    found = curve(question)
    best = found.pareto()
    chip, model = question.chip, question.model
    point_at = tiers(question, found, ASKED)[1].spot
    told = limits(question, best, evaluate(question, point_at.split, point_at.batch))
    read = 2.0 * (model.params - model.vocab * model.d_model)
    assert told["latency_floor_s"] == pytest.approx(read / chip.hbm_bytes_per_s, rel=0.03)  # and one sequence's cache
    assert told["drain_s"] == pytest.approx(chip.hbm_bytes / chip.hbm_bytes_per_s)
    assert told["ideal_batch"]["blackboard"] == pytest.approx(chip.peak_flops_per_s["bf16"] / chip.hbm_bytes_per_s)
    kv = 2.0 * configs.kv_elements_per_token(model)
    balanced = read * chip.hbm_bytes_per_s / chip.peak_flops_per_s["bf16"] / kv
    assert told["balanced_context_tokens"] == pytest.approx(balanced, rel=0.02)
    context = 2250.0  # what a decoded token sees on average
    slow = read / chip.peak_flops_per_s["bf16"] + context * kv / chip.hbm_bytes_per_s
    assert told["slow_usd_per_mtok_output"] == pytest.approx(slow * chip.usd_per_hour / 3600.0 * 1e6, rel=0.03)

"""The latency-cost curve against every batch there is, its tiers, and the fleet that they share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from planner.estimate.answer import estimate
from planner.estimate.layouts import Split
from planner.estimate.point import evaluate
from planner.estimate.question import Question
from planner.frontier.answer import frontier
from planner.frontier.curve import Points, Spot, curve, points
from planner.frontier.limits import balanced_context, limits
from planner.frontier.tiers import Asked, Tier, mix, tiers, within
from planner.serving.names import ATTENTION, LINKS, OVERHEADS, STREAMS

ASKED = Asked(fast_speedup=2.5, peak_to_mean=1.226, fast_share=0.1, batch_share=None)
SMALL = {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 2.0, "input_tokens": 2000.0, "output_tokens": 500.0}
QUESTION = Question.of(SMALL)
# Experts on any of eight layouts, with prompts and answers so long that few sequences fit.
EXPERTS = {**SMALL, "model": "qwen3-30b-a3b", "chips": 4.0, "input_tokens": 8000.0, "output_tokens": 4000.0}


@pytest.fixture(scope="module", params=[SMALL, EXPERTS], ids=["dense", "experts"])
def asked(request):
    return request.param


@pytest.fixture(scope="module")
def question(asked):
    return Question.of(asked)


@pytest.fixture(scope="module")
def found(question):
    return curve(question)


@pytest.fixture(scope="module")
def every(question):
    """Every whole batch of every layout."""
    most = points(question, question.splits, np.array([1.0])).most
    return points(question, question.splits, np.arange(1.0, most.max() + 1.0))


def estimated(asked, row):
    """What `estimate` says of a point of the curve."""
    split = row.split._asdict() if isinstance(row, Spot) else {name: row[name] for name in Split._fields}
    batch = row.batch if isinstance(row, Spot) else row["batch"]
    return estimate(Question.of({**asked, "batch": batch, **{k: float(v) for k, v in split.items()}}))


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
    # The last batch within a limit is found, and full tiles before it; a few batches short of a full one may be cheaper
    # by as much as the tile's edge is rounded.
    assert spot.output_s == pytest.approx(kept, rel=1e-3)


def test_a_point_is_what_estimate_says_of_it(asked, found):
    best = found.pareto()
    for i in (0, len(best.batch) // 2, -1):
        spot = best.at(i)
        told = estimated(asked, spot)
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
    assert standard.spot.tpot_s / fast.spot.tpot_s >= 2.5 * (1.0 - 1e-9)
    assert tiers(replace(question, limits={"tpot_s": 1e-6}), found, ASKED) is None


def test_a_tier_costs_what_estimate_says_times_the_peak(asked):
    told = frontier(Question.of(asked), ASKED, True)
    for row, peak in zip(told["tiers"], (1.226, 1.226, 1.0), strict=True):
        alone = estimated(asked, row)
        for kind in ("input", "output"):
            assert row["usd_per_mtok"][kind] == pytest.approx(peak * alone["usd_per_mtok"][kind], rel=1e-9)
        assert row["output_tokens_per_s_per_chip"] == pytest.approx(alone["output_tokens_per_s_per_chip"], rel=1e-9)
    standard, least = estimated(asked, told["tiers"][1]), told["smallest_efficient"]
    assert least["output_tokens_per_s"] == pytest.approx(standard["output_tokens_per_s"], rel=1e-9)
    assert told["schedule"]["interval_s"] == pytest.approx(standard["step_s"] / told["tiers"][1]["pp"], rel=1e-9)
    assert told["interval"]["tpot_s"] == pytest.approx(standard["interval"]["tpot_s"], rel=1e-9)


def test_an_hour_of_waiting_is_worth_what_the_faster_tier_saves(question):
    fast, standard, batch = frontier(question, ASKED, True)["tiers"]
    input_tokens, _, output_tokens = question.lengths
    for quick, slow, told in ((fast, standard, fast), (standard, batch, batch)):
        paid = [sum(n * row["usd_per_mtok"][k] / 1e6 for k, n in (("input", input_tokens), ("output", output_tokens)))
                for row in (quick, slow)]  # fmt: skip
        took = [row["ttft_s"] + output_tokens * row["tpot_s"] for row in (quick, slow)]
        worth = (paid[0] - paid[1]) / ((took[1] - took[0]) / 3600.0)
        # None where the slower one is the dearer: its output is cheap, its prompts are not.
        assert told["worth_above_usd_per_hour"] == (pytest.approx(worth) if worth > 0.0 else None)


def test_prompts_that_make_a_slow_tier_dear_are_told_of():
    asked = {**SMALL, "model": "gpt-oss-120b", "chips": 8.0, "input_tokens": 50000.0, "output_tokens": 1000.0}
    told = frontier(Question.of(asked), ASKED, True)
    fast, standard, batch = (row["request_price_multiple"] for row in told["tiers"])
    notes = [text for text in told["warnings"] if "prompts are not" in text]
    assert len(notes) == (standard > 1.001 * fast) + (batch > 1.001 * standard)
    assert told["mix"]["batch"]["discount"]["most"] >= 0.0  # whoever waits alone takes what is cheapest for a request


READING = ("decode attention", "indexer")
COST, SHARE = st.floats(1e-3, 1e3), st.floats(0.0, 1.0)


@given(
    st.lists(st.tuples(COST, COST), min_size=3, max_size=8), st.floats(1.0, 1e3), SHARE,
    st.one_of(st.none(), st.floats(0.0, 0.999)), st.data(),
)  # fmt: skip
def test_the_shared_fleet_is_paid_for_exactly(costs, peak, fast_share, batch_share, data):
    n = len(costs)
    times, (output, prompt) = np.arange(1.0, n + 1.0), np.array(costs).T
    splits = (Split(1, 1, 1, 1), Split(2, 1, 1, 1))
    where = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    curve = Points(splits, np.full(2, 9.0), where, times, times, times, times, output, prompt, times)
    question = replace(QUESTION, lengths=(30.0, 10.0, 5.0))
    asked = Asked(2.0, peak, fast_share, batch_share)
    chosen = [Tier(name, curve.at(data.draw(st.integers(0, n - 1))), spare)
              for name, spare in (("fast", peak), ("standard", peak), ("batch", 1.0))]  # fmt: skip
    told = mix(question, curve, chosen, asked)
    requests = {tier.name: 20.0 * tier.spot.input_s + 5.0 * tier.spot.output_s for tier in chosen}
    whole = 20.0 * prompt + 5.0 * output
    alone = peak * requests["standard"]
    shares, batch = told["shares"], told["batch"]["price_multiple"]
    prices = {name: told[name]["price_multiple"] for name in ("fast", "standard")} | {"batch": batch["proportional"]}
    assert sum(shares.values()) == pytest.approx(1.0)
    # Replicas for the peak of what cannot wait; batch work beyond their troughs where a request costs least of all.
    filling = min(requests["standard"], whole[[splits[i] == chosen[1].spot.split for i in where]].min())
    urgent = sum(shares[name] * requests[name] for name in ("fast", "standard"))
    beyond = max(shares["batch"] - (peak - 1.0) * urgent / filling, 0.0)
    fleet = peak * urgent + beyond * whole.min()
    paid = sum(shares[name] * prices[name] for name in shares) * alone
    assert paid == pytest.approx(fleet, rel=1e-9)
    assert batch["most"] == pytest.approx(whole.min() / alone)
    # Nobody pays more than on a fleet of their own, and batch no less than what it adds.
    assert 0.0 <= batch["least"] <= batch["proportional"] * (1.0 + 1e-9) + 1e-12
    assert batch["proportional"] <= batch["most"] * (1.0 + 1e-9)
    for name in ("fast", "standard"):
        assert prices[name] * alone <= peak * requests[name] * (1.0 + 1e-9)
    assert told["utilisation_without_batch"] - 1e-9 <= told["utilisation"] <= 1.0 + 1e-9
    if batch_share is None:
        assert beyond == pytest.approx(0.0, abs=1e-9)
        assert told["utilisation"] == pytest.approx(1.0)
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


@pytest.mark.parametrize(("model", "chips"), [("llama-3.1-8b", 1.0), ("gemma-3-4b", 1.0), ("deepseek-v3.2", 8.0)])
def test_the_balanced_context_is_the_models_and_not_that_of_the_lengths_asked(model, chips):
    found = []
    for tokens in (500.0, 50000.0):
        question = Question.of({"model": model, "chip": "h200-sxm", "chips": chips, "input_tokens": tokens})
        found.append(balanced_context(question, evaluate(question, question.splits[0], 16.0)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)

    # There one more sequence's attention, beyond that to nothing, takes as long as its products.
    def added(context):
        point = evaluate(question, question.splits[0], 16.0, (context - 0.5, 0.0, 1.0))
        batches = point.curve["batches"][-2:]
        slopes = {k: float(np.diff(v[-2:])[0] / np.diff(batches)[0]) for k, v in point.told["plain"]["seconds"].items()}
        reading = sum(slopes.get(name, 0.0) for name in READING)
        return reading, sum(
            v for k, v in slopes.items() if k not in (*READING, *STREAMS, *LINKS, *OVERHEADS, *ATTENTION)
        )

    none, (reading, products), longer = added(1.5)[0], added(found[0]), added(100.0 * found[0])[0]
    assert reading - none == pytest.approx(products, rel=1e-3)
    # Attention to all of the context grows with it (short ones are read at a lower rate), to windows or a choice less.
    growth = (longer - none) / (reading - none)
    assert growth == pytest.approx(100.0, rel=0.1) if model == "llama-3.1-8b" else growth < 70.0


def test_prompts_on_chips_of_their_own_leave_the_interval_about_the_time_told():
    told = frontier(Question.of({**SMALL, "disaggregated": True}), ASKED, True)
    low, high = told["interval"]["tpot_s"]
    standard = told["tiers"][1]
    assert low < standard["tpot_s"] < high
    assert told["schedule"]["interval_s"] == pytest.approx(standard["tpot_s"] / standard["pp"])


def test_passes_leave_as_often_as_stages_end():
    told = frontier(Question.of({**SMALL, "chips": 2.0, "pp": 2.0}), ASKED, True)["schedule"]
    assert told["worst_latency_s"] == pytest.approx(3.0 * told["interval_s"])


def test_a_first_token_too_soon_is_refused_with_the_quickest_of_all_layouts():
    asked = {"model": "llama-3.1-8b", "chip": "h100-sxm", "input_tokens": 2000.0, "output_tokens": 500.0}
    told = frontier(Question.of({**asked, "ttft_ms": 0.01}), ASKED)
    assert (told["status"], told["binding_limit"]) == ("infeasible", "ttft")
    would = told["nearest_feasible"]["ttft_ms"]
    assert frontier(Question.of({**asked, "ttft_ms": would}), ASKED)["status"] == "ok"
    assert frontier(Question.of({**asked, "ttft_ms": 0.98 * would}), ASKED)["status"] == "infeasible"

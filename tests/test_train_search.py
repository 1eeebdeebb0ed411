"""The layout search: against each layout costed by itself, what it leaves out, and slopes against differences."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import configs
from planner.train import space
from planner.train.chips import find
from planner.train.elasticities import elasticities
from planner.train.question import Question
from planner.train.space import Way

QUESTIONS = {
    "dense": {"model": "llama-3.1-8b", "chip": "h100-sxm", "chips": 64, "tokens": 1e12, "batch_tokens": 2**22},
    "experts": {"model": "qwen3-30b-a3b", "chip": "b200-sxm", "chips": 32, "tokens": 1e12, "precision": "fp8"},
    "a torus": {"model": "llama-3.1-70b", "chip": "tpu-v5p", "chips": 256, "tokens": 1e12, "sequence_tokens": 4096},
    "recurrent": {"model": "nemotron-3-nano-30b-a3b", "chip": "h100-sxm", "chips": 32, "tokens": 1e12},
}


def asked(name, **changes):
    return Question.of({**QUESTIONS[name], **changes})


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_search_equals_every_layout_costed_by_itself(name):
    """Over the whole grid: the same layouts are allowed and fit, at the same speed, and the best is the best."""
    question = asked(name)
    n = question.chips
    shapes, spreads = space.grid(question, [n])
    rows = []
    for tp, cp, ep, micro in shapes:
        for pp, vp, sharded, zero, chips in spreads:
            dp = chips / (tp * cp * pp)
            whole = dp == int(dp) and dp >= 1 and (tp * cp * dp) % ep == 0
            many = question.sequences / (dp * micro) if whole else 0.0
            near = whole and abs(max(round(many), 1) / many - 1.0) <= 0.05
            if near and (vp == 1 or max(round(many), 1) % pp == 0):
                rows.append(Way(tp, pp, vp, cp, ep, int(dp), micro, sharded, zero))
    found = space.search(question, [n])
    assert found.whole == len(rows)
    assert found.tried == len(shapes) * len(spreads)
    told = space.tell(question, rows)
    room = question.chip.visible_bytes * 0.95
    fits = told["used_bytes"] <= room
    slow = {way: rate for way, rate, ok in zip(rows, told["tokens_per_s_per_chip"], fits, strict=True) if ok}
    assert set(found.ways) == set(slow)
    # The same arithmetic in another order.
    assert found.rates == pytest.approx([slow[way] for way in found.ways], rel=1e-9)
    assert found.rates[0] == pytest.approx(max(slow.values()), rel=1e-9)


@pytest.mark.parametrize("name", ["dense", "experts"])
def test_what_is_given_stays(name):
    free = space.search(asked(name), [QUESTIONS[name]["chips"]])
    way = free.ways[len(free.ways) // 2]
    given_ways = {key: getattr(way, key) for key in ("tp", "pp", "vp", "cp", "ep", "micro_batch")}
    alone = space.search(
        asked(name, **given_ways, sharding="weights" if way.sharded else "states"), [QUESTIONS[name]["chips"]]
    )
    assert [one for one in alone.ways if one == way]
    assert alone.rates[alone.ways.index(way)] == pytest.approx(free.rates[free.ways.index(way)], rel=1e-9)
    assert alone.rates[0] <= free.rates[0] * (1.0 + 1e-12)


def test_the_fewest_chips_for_some_days():
    question = Question.of({"model": "llama-3.1-70b", "chip": "h100-sxm", "days": 45, "tokens": 5e12})
    found = find(question)
    n = found.space.ways[0].chips
    assert found.space.days.min() <= 45.0
    for fewer in (n // 2, n * 3 // 4 // 8 * 8):
        assert find(question.with_chips(fewer)).space.days.min(initial=np.inf) > 45.0
    assert all(row["days"] > 45.0 for row in found.curve if row["chips"] < n)


@given(
    st.sampled_from(["h100-sxm", "b200-sxm", "tpu-v6e"]), st.integers(3, 8), st.floats(2e9, 2e11), st.floats(11.0, 13.5)
)
@settings(max_examples=15, deadline=None)
def test_layouts_multiply_out(chip, log2_chips, params, log10_tokens):
    question = Question.of({"params": params, "chip": chip, "chips": 2**log2_chips, "tokens": 10**log10_tokens})
    found = space.search(question, [2**log2_chips])
    assert np.all(np.diff(found.rates) <= 0)
    for way in found.ways[:20]:
        assert way.chips == 2**log2_chips
        assert (way.tp * way.cp * way.dp) % way.ep == 0
        assert way.micro_batch * way.dp <= question.sequences * 1.05
    assert np.all(found.used_bytes <= question.chip.visible_bytes)


def test_more_memory_never_slows_and_less_may_not_fit():
    question = asked("dense")
    plenty = replace(question, chip=replace(question.chip, visible_bytes=4.0 * question.chip.visible_bytes))
    little = replace(question, chip=replace(question.chip, visible_bytes=2e9))
    assert space.search(plenty, [64]).rates[0] >= space.search(question, [64]).rates[0]
    assert not space.search(little, [64]).ways
    assert space.search(little, [64]).least_bytes > 2e9


CHIP_FIELDS = ("hbm_bytes_per_s", "link_bytes_per_s", "scale_out_bytes_per_s", "power_w")


@pytest.mark.parametrize("name", QUESTIONS)
def test_slopes_equal_differences_in_every_chip_and_price_field(name):
    """Of the bill, the layout held: central differences of the same layout on a chip whose facts are changed."""
    question = asked(name, failures="llama-3")
    way = space.search(question, [question.chips]).ways[0]
    slopes = elasticities(question, way)
    h = 1e-5

    def bill(changed, name="usd"):
        return float(np.log(space.tell(changed, [way])[name][0]))

    def moved(field, factor):
        chip = question.chip
        if field.startswith("peak_flops_per_s."):
            form = field.split(".")[1]
            peaks = {**chip.peak_flops_per_s, form: chip.peak_flops_per_s[form] * factor}
            return replace(question, chip=replace(chip, peak_flops_per_s=peaks))
        return replace(question, chip=replace(chip, **{field: getattr(chip, field) * factor}))

    fields = [*CHIP_FIELDS[:3], *{f"peak_flops_per_s.{p}" for p in ("bf16", question.precision)}]
    for field in fields:
        slope = (bill(moved(field, 1 + h)) - bill(moved(field, 1 - h))) / (np.log1p(h) - np.log1p(-h))
        # Differences of a logarithm of order ten in double precision are good to 1e-15 * 10 / h = 1e-9.
        assert slopes[f"chip.{field}"] == pytest.approx(slope, rel=1e-5, abs=1e-7), field
    if question.usd_per_hour is not None:
        price = [replace(question, usd_per_hour=question.usd_per_hour * (1 + sign * h)) for sign in (1, -1)]
        slope = (bill(price[0]) - bill(price[1])) / (np.log1p(h) - np.log1p(-h))
        assert slopes["chip.usd_per_hour"] == pytest.approx(slope, rel=1e-5)
    tokens = [replace(question, tokens=question.tokens * (1 + sign * h)) for sign in (1, -1)]
    slope = (bill(tokens[0], "chip_s") - bill(tokens[1], "chip_s")) / (np.log1p(h) - np.log1p(-h))
    assert slopes["tokens"] == pytest.approx(slope, rel=1e-5)
    facts = question.failures
    often = [replace(question, failures=replace(facts, chip_mtbf_s=facts.chip_mtbf_s * (1 + s * h))) for s in (1, -1)]
    slope = (bill(often[0], "chip_s") - bill(often[1], "chip_s")) / (np.log1p(h) - np.log1p(-h))
    assert slopes["failures.chip_mtbf_s"] == pytest.approx(slope, rel=1e-4, abs=1e-8)


def test_a_trainer_that_shards_weights_shards_them():
    question = Question.of({"model": "llama-3.1-8b", "chip": "tpu-v6e", "chips": 64, "tokens": 1e12})
    assert {way.sharded for way in space.search(question, [64]).ways} == {1}
    assert configs.load_trainer(question.trainer.id).sharded

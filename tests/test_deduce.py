"""From a price card back to the model: gradients, recovery, coverage, and what more information does."""

import json
from dataclasses import replace
from itertools import pairwise
from math import exp, log
from random import Random

import numpy as np
import pytest
from made_cards import covered, made

import configs
from configs.cards import CardFacts, Price
from planner.cli.deduce import deduce
from planner.compiled import program
from planner.deduce.before import given
from planner.deduce.infer import LINEARISED, infer
from planner.deduce.names import UNKNOWNS
from planner.deduce.seen import Seen, seen
from planner.estimate.question import Question

KINDS = {"dense": {"params": 70e9}, "experts": {"params": 300e9, "active_params": 30e9}}
BOARD = {"input": 2.0, "output": 12.0, "context_step": 200e3, "long_input": 4.0, "long_output": 18.0}
PLAIN = {"input": 1.0, "output": 4.0, "chip": "h100-sxm"}
# Unknowns, and batches of standard, long, fast and batch slots, in logarithms, by kind of model; off the corner where
# each of the chips has one sequence.
TRUE = {
    "dense": np.log([70e9, 1.0, 320e3, 4.0, 1.7, 60.0, 3.0, 12.0, 90.0]),
    "experts": np.log([30e9, 10.0, 90e3, 13.0, 1.7, 900.0, 20.0, 90.0, 1500.0]),
}


def question(kind: str, **more) -> Question:
    return Question.of({**KINDS[kind], "chip": "h100-sxm", **more})


def nothing_seen() -> Seen:
    return Seen(np.full((4, 3), np.nan), 200e3, 447e3)


def taken(kind: str, shown: Seen | None = None, known: dict[str, float] | None = None):
    return given(question(kind), shown or nothing_seen(), known or {}, 1.226, 0.1)


# The function and its slopes


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_those_of_finite_differences(kind):
    lines = np.log(np.full((4, 3), 1e-6))
    asked = taken(kind, Seen(lines, 200e3, 447e3))
    run, step = program(LINEARISED, asked, TRUE[kind]), 1e-5
    # Beside caches far smaller, where fewer layers attend, and ones with more sequences than fit.
    for off in (np.zeros(9), np.array([1.0, 0.5, -4.0, 0.7, 0.2, -1.0, 0.3, 0.4, 1.0])):
        x = TRUE[kind] + (off if kind == "experts" else off * (np.arange(9) != 1))
        told = run(asked, x)
        for slopes, values in (("J", "r"), ("derived_J", "derived")):
            for i, axis in enumerate(step * np.eye(9)):
                low, high = run(asked, x - axis)[values], run(asked, x + axis)[values]
                scale = np.abs(told[slopes]).max()
                np.testing.assert_allclose(told[slopes][:, i], (high - low) / (2 * step), atol=1e-4 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_cache_reads_less_however_small(kind):
    """No floor of one KV head per chip and layer: it would hide every cache below it."""
    asked = taken(kind)
    run = program(LINEARISED, asked, TRUE[kind])
    told = [run(asked, np.where(np.arange(9) == 2, log(kv), TRUE[kind])) for kv in (320e3, 32e3, 3.2e3, 320.0)]
    output = [exp(one["lines"][1, 1]) for one in told]
    balanced = [exp(one["derived"][2]) for one in told]
    assert all(b < 0.98 * a for a, b in pairwise(output))
    assert all(b > 2.0 * a for a, b in pairwise(balanced))
    assert balanced[3] == pytest.approx(10.0 * balanced[2], rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_card_of_the_model_itself_is_recovered(kind):
    x = TRUE[kind].copy()
    asked = taken(kind)
    run = program(LINEARISED, asked, x)
    for _ in range(30):  # batches as expected, as nothing else is seen of them
        told = run(asked, x)
        x[5:] -= told["r"][-4:] * asked["batch_width"] * 0.5
    lines = run(asked, x)["lines"].copy()
    lines[(1, 3), 2] = np.nan  # of long contexts and batches no card has speeds
    asked = given(question(kind), Seen(lines, 200e3, 447e3), {"markup": 1.7}, 1.226, 0.0)
    asked["weight"] = np.where(asked["weight"] > 0.0, 1e3, 0.0)  # as if models did not err
    asked["width"] = np.where(asked["width"] > 0.1, 50.0, asked["width"])
    best = infer(asked)[0]
    np.testing.assert_allclose(np.exp(best.x[:4] - x[:4]), 1.0, rtol=0.02)
    assert np.nanmax(np.abs(best.lines - lines)) < 2e-3


# Coverage


@pytest.fixture(scope="module")
def cards():
    """Return 30 cards, each of another model, chip, length and margin; typical models, so that programs are few."""
    random, out = Random(7), []
    while len(out) < 30:
        one = made(random, (), ("h100-sxm", "h200-sxm"), generic=1.0)
        if one is not None:
            out.append(one)
    return out


@pytest.mark.parametrize("stated", [(), ("margin",), ("margin", "active_params", "chips")])
def test_intervals_hold_the_truth_as_often_as_they_say(stated, cards, tmp_path):
    """The bar is 85 % of many; with 30 and that chance each, fewer than 21 inside are seen one time in a hundred."""
    inside: dict[str, int] = {}
    for one in cards:
        answer = one.deduced(tmp_path, **one.flags(*stated))
        for name, yes in covered(answer, one.truth).items():
            inside[name] = inside.get(name, 0) + yes
        for name in stated:
            row = answer["parameters"]["margin_fraction" if name == "margin" else name]
            assert (row["identified"], row["low"], row["high"]) == ("given", row["value"], row["value"])
            assert row["value"] == pytest.approx(one.flags(name)[name], abs=1e-12)
        parameters = answer["parameters"]
        assert all(row["low"] <= row["value"] <= row["high"] for row in parameters.values())
        assert min(parameters[name]["low"] for name in ("sparsity", "chips")) >= 1.0
        assert max(parameters[name]["high"] for name in ("decode_mfu", "prefill_mfu")) <= 1.0
    assert min(inside.values()) >= 21, inside


def width(answer, name):
    row = answer["parameters"][name]
    return log(row["high"] / row["low"])


def test_more_told_is_more_known(cards, tmp_path):
    for one in cards[:6]:
        plain = one.deduced(tmp_path)
        margin = one.deduced(tmp_path, **one.flags("margin"))
        assert width(margin, "active_params") < 0.9 * width(plain, "active_params")
        everything = one.deduced(tmp_path, **one.flags("margin", "active_params", "sparsity", "chips"))
        for name in ("kv_bytes_per_token", "decode_mfu", "batch"):
            assert width(everything, name) < 1.15 * width(plain, name)


# What is read, and what is not


def test_sizes_margin_and_replica_in_the_file_are_not_read(cards, tmp_path):
    one = cards[0]
    told = one.deduced(tmp_path)
    lies = {
        "model": {"id": "other", "params": 1.0, "active_params": 1.0, "kv_bytes_per_token": 1.0},
        "replica": {"chips": 999, "batch": 1.0},
        "margin_fraction": 0.0,
        "kv_bytes_per_token": 1.0,
        "balanced_context_tokens": 1.0,
        "lines": [],
        "ratios": {},
        "cache_tiers": [],
    }
    assert replace(one, card=one.card | lies).deduced(tmp_path) == told
    tiers = [tier | {"batch": 1.0, "chips": 1, "price_multiple": 1.0, "speedup": 1.0} for tier in one.card["tiers"]]
    assert replace(one, card=one.card | {"tiers": tiers}).deduced(tmp_path) == told


def test_the_same_card_gives_the_same_answer(cards, tmp_path):
    first, second = (cards[1].deduced(tmp_path) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)


def test_a_card_that_says_its_service_is_read_with_it_unless_flags_say_otherwise(cards, tmp_path):
    one = cards[2]
    told = one.deduced(tmp_path)["assumptions"]
    assert told["requests"] == {k: one.card["requests"][k] for k in ("input_tokens", "output_tokens")}
    assert {row["chip"] for row in told["weighed"]} == {one.card["chip"]["id"]}
    other = one.deduced(tmp_path, chip="b200-sxm", output_tokens=777.0)["assumptions"]
    assert other["requests"]["output_tokens"] == 777.0
    assert {row["chip"] for row in other["weighed"]} == {"b200-sxm"}


def test_twice_the_price_is_more_margin_or_a_larger_model():
    once, twice = (deduce(PLAIN | {"input": k, "output": 4 * k}) for k in (1.0, 2.0))
    rows, more = once["parameters"], twice["parameters"]
    assert more["margin_fraction"]["value"] > rows["margin_fraction"]["value"]
    assert 1.0 < more["active_params"]["value"] / rows["active_params"]["value"] < 2.0
    # At a markup that is given to be twice as large the same model explains them.
    half, three = (deduce(PLAIN | {"input": k, "output": 4 * k, "margin": m}) for k, m in ((1.0, 0.5), (2.0, 0.75)))
    for name in ("active_params", "kv_bytes_per_token", "sparsity", "chips"):
        assert three["parameters"][name]["value"] == pytest.approx(half["parameters"][name]["value"], rel=0.01)


def test_two_prices_tell_little_and_say_so():
    answer = deduce(PLAIN)
    assert {"sparsity", "margin_fraction"} <= set(answer["not_identified"])
    assert answer["blackboard"]["kv_bytes_per_token"] is None
    assert answer["cache_tiers"] is None
    assert answer["warnings"] == []
    known = deduce(PLAIN | {"active_params": 50e9, "sparsity": 1.0, "margin": 0.5, "pricing_noise": 0.0})
    assert known["parameters"]["total_params"]["value"] == pytest.approx(50e9, rel=0.05)
    assert {row["kind"] for row in known["assumptions"]["weighed"]} == {"dense"}


def test_what_contradicts_itself_is_told():
    answer = deduce(PLAIN | {"active_params": 1e15})
    assert answer["warnings"]
    assert "comes near" in answer["warnings"][0]


@pytest.mark.parametrize("chip", ["h100-sxm", "b200-sxm"])
def test_the_blackboard_reads_the_lecture(chip):
    """(W/F) N/L, with the chip's own W/F: 1/295 multiplications per byte on H100, the lecture's 1/300."""
    answer = deduce(BOARD | {"active_params": 100e9, "chip": chip})
    facts = configs.load_chip(chip)
    by_hand = facts.hbm_bytes_per_s / (facts.peak_flops_per_s["fp8"] / 2.0) * 100e9 / 200e3
    read = answer["blackboard"]
    assert (read["chip"], read["step_tokens"], read["active_params"]) == (chip, 200e3, pytest.approx(100e9))
    assert read["decode_over_prefill_mfu"] == pytest.approx(1 / 6)
    kv = answer["parameters"]["kv_bytes_per_token"]
    assert read["refined_agrees"] == (kv["low"] <= read["kv_bytes_per_token"] <= kv["high"])
    assert read["refined_over_blackboard"] == pytest.approx(kv["value"] / read["kv_bytes_per_token"])
    assert read["kv_bytes_per_token"] == pytest.approx(by_hand, rel=0.1)


def test_the_step_that_costs_have_is_read_from_its_kink():
    """A cache of 2 kB explains the lecture's two prices better than the 170 kB of a typical 100B model."""
    off = {}
    for kv in (2e3, 170e3):
        rows = deduce(BOARD | {"active_params": 100e9, "chip": "h100-sxm", "sparsity": 1.0, "kv_bytes_per_token": kv})
        off[kv] = max(abs(log(row["ratio"])) for row in rows["fit"] if row["slot"] == "long")
    assert off[2e3] < log(2.0) < 0.7 * off[170e3]


def test_what_is_seen_of_a_card():
    plain, beyond = (
        Price("standard", 1.0, 4.0, max_context_tokens=1e5),
        Price("standard", 2.0, 6.0, None, None, None, 1e5),
    )
    tiers = (plain, beyond, Price("batch", 0.5, 2.0), Price("priority", 2.0, 8.0), Price("flex", 0.5, 2.0))
    card = CardFacts("x", "X", "", tiers, {"standard": 50.0}, {})
    shown = seen(card)
    told = np.exp(shown.lines)
    np.testing.assert_allclose(told[:2], [[1e-6, 4e-6, 50.0], [2e-6, 6e-6, np.nan]])
    assert np.isnan(told[2]).all(), "a faster tier says nothing where its speed is unknown"
    np.testing.assert_allclose(told[3, :2], [0.5e-6, 2e-6])
    assert (shown.step_tokens, shown.long_tokens) == (1e5, pytest.approx(1e5 * 5.0**0.5))
    faster = seen(replace(card, output_tokens_per_s={"priority": 90.0}))
    np.testing.assert_allclose(np.exp(faster.lines[2]), [2e-6, 8e-6, 90.0])
    assert set(UNKNOWNS) == {"active_params", "sparsity", "kv_bytes_per_token", "chips", "markup"}

"""Reinforcement learning's cost, and the rule of equal costs."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from planner.training.rollouts import Rollouts, TokenCosts

N = 100e9
costs = st.floats(1e-3, 1e3)
shares = st.floats(0.0, 1.0)


def rollouts(**changed):
    given = {
        "tokens": 1e12,
        "active_params": N,
        "generation_chip_s": 2e-3,
        "busy_fraction": 0.7,
        "scoring_passes": 2.0,
        "trained_fraction": 0.5,
        "train_flops_per_chip_s": 4e14,
    }
    return Rollouts(**{**given, **changed})


# The rule at large


@given(costs, costs, costs, st.floats(1.0, 1e20))
def test_costs_come_out_equal(pre, rollout, inference, total):
    one = TokenCosts(pre, rollout, inference)
    beside = one.tokens_beside(total)
    spent = pre * beside.pretraining, rollout * beside.rollout, inference * beside.inference
    assert spent == pytest.approx((inference * total,) * 3)
    assert float(beside.pretraining) == pytest.approx(float(one.alpha() * beside.rollout))
    assert float(beside.pretraining) == pytest.approx(float(one.beta() * beside.inference))


def test_equal_costs_are_near_the_least():
    """Item 32: quality a product of powers of the three token counts with like exponents; cost is least where each
    share is its exponent's, and the even split costs a few per cent more while they differ by a factor of 2."""
    prices = np.array([6.0, 10.0, 6.7])
    for exponents in ([1.0, 1.0, 1.0], [0.25, 0.25, 0.5]):
        powers = np.array(exponents) / sum(exponents)
        found = minimize(lambda u, p=powers: np.log(np.sum(prices * np.exp(u))) - p @ u, np.zeros(3), tol=1e-12)
        spent = prices * np.exp(found.x)
        assert spent / spent.sum() == pytest.approx(powers, abs=1e-4)
        u = np.log(1 / 3 / prices)
        assert np.exp(np.log(np.sum(prices * np.exp(u))) - powers @ u - found.fun) < 1.07


# Rollouts from their parts


def test_parts_in_closed_form():
    one = rollouts()
    assert float(one.generation()) == pytest.approx(1e12 * 2e-3 / 0.7)
    assert float(one.scoring()) == pytest.approx(2 * 2 * N * 1e12 / 4e14)
    assert float(one.training()) == pytest.approx(6 * 0.5 * N * 1e12 / 4e14)
    assert float(one.chip_seconds()) == pytest.approx(float(one.generation() + one.scoring() + one.training()))
    assert float(one.per_token() * 1e12) == pytest.approx(float(one.chip_seconds()))


@given(shares, st.floats(0.05, 1.0))
def test_the_lecture_s_factor_lies_above_the_parts(trained, efficiency):
    """It charges what is trained on at the efficiency of decoding; by parts training runs at its own."""
    rate = 4e14
    parts = rollouts(
        generation_chip_s=2 * N / (efficiency * rate), busy_fraction=1.0, scoring_passes=0.0, trained_fraction=trained
    )
    lumped = (2 + 4 * trained) * N / efficiency / rate
    own = float(parts.per_token())
    if efficiency <= 2 / 3:
        assert own <= lumped * (1 + 1e-12)
    assert own >= 2 * N / (efficiency * rate) * (1 - 1e-12)


def test_gradients_against_differences():
    one = rollouts()
    slopes = jax.grad(lambda r: r.chip_seconds())(one)
    for name in ("tokens", "generation_chip_s", "busy_fraction", "scoring_passes", "trained_fraction"):
        value = getattr(one, name)
        up, down = (rollouts(**{name: value * factor}).chip_seconds() for factor in (1 + 1e-6, 1 - 1e-6))
        assert float(getattr(slopes, name)) == pytest.approx(float(up - down) / (2e-6 * value), rel=1e-7), name

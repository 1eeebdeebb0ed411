"""Reinforcement learning's cost, and the rule of equal costs with the lecture's numbers."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from planner.training.rollouts import Rollouts, TokenCosts, Tokens

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


# The lecture, items 33 to 36: e = 0.3, a model of 100B active parameters


def test_lecture_factors():
    """Item 34: beta = 0.333 / 0.3, about 1; alpha from 1.1 to 3.3, taken as 1.5 where a sixth is trained on."""
    never, always = (TokenCosts.of_flops(N, trained, 0.3) for trained in (0.0, 1.0))
    assert float(never.beta()) == pytest.approx(0.3333 / 0.3, rel=1e-3)
    assert (float(never.alpha()), float(always.alpha())) == pytest.approx((1.11, 3.33), rel=5e-3)
    assert float(TokenCosts.of_flops(N, 0.175, 0.3).alpha()) == pytest.approx(1.5)


def test_lecture_lifetime_cost():
    """Item 33 term by term: 6 N D_pre + (2 to 6) N D_RL / e + 2 N D_inf / e."""
    tokens = Tokens(1.5e14, 1e14, 1.5e14)
    spent = TokenCosts.of_flops(N, 1.0, 0.3).of(tokens)
    assert spent == pytest.approx((6 * N * 1.5e14, 6 * N * 1e14 / 0.3, 2 * N * 1.5e14 / 0.3))


def test_lecture_tokens():
    """Items 34 to 36: 50M tokens a second for two months is 2.6e14; D_pre = 1.5 D_RL, about D_inf; 75 to 100 times
    the 20 N of Chinchilla. The lecture calls 2.6e14 200T, and beta 1.11 one: rumours of 150T lie within a factor 2.
    """
    inference = 50e6 * 2 * 30.4 * 86400
    assert inference == pytest.approx(2.6e14, rel=0.02)
    even = TokenCosts.of_flops(N, 0.175, 0.3)
    tokens = even.tokens_beside(inference)
    assert float(tokens.pretraining / tokens.rollout) == pytest.approx(1.5)
    assert float(tokens.pretraining) == pytest.approx(inference, rel=0.12)
    rounded = even.tokens_beside(200e12)
    assert 150e12 / 2 < float(rounded.pretraining) < 150e12 * 2
    chinchilla = 20 * N
    assert (150e12 / chinchilla, 200e12 / chinchilla) == (75.0, 100.0)
    assert float(rounded.pretraining) / chinchilla == pytest.approx(100.0, rel=0.12)


def test_lecture_share_of_global_traffic():
    """Item 36: 500M tokens a second for two months is 2.6e15; item 35 derates by the chance of being used."""
    even = TokenCosts.of_flops(N, 0.175, 0.3)
    everyone = 500e6 * 60.8 * 86400
    assert everyone == pytest.approx(2.63e15, rel=1e-2)
    derated, tenth = even.tokens_beside(everyone, 0.1), even.tokens_beside(everyone * 0.1)
    assert jax.tree.leaves(derated) == pytest.approx(jax.tree.leaves(tenth))


# The rule at large


@given(costs, costs, costs, st.floats(1.0, 1e20))
def test_costs_come_out_equal(pre, rollout, inference, total):
    one = TokenCosts(pre, rollout, inference)
    assert one.of(one.tokens_for(total)) == pytest.approx((total / 3,) * 3)
    beside = one.tokens_beside(total)
    assert one.of(beside) == pytest.approx((inference * total,) * 3)
    assert float(beside.pretraining) == pytest.approx(float(one.alpha() * beside.rollout))
    assert float(beside.pretraining) == pytest.approx(float(one.beta() * beside.inference))


def test_other_shares():
    one = TokenCosts(6.0, 12.0, 7.0)
    assert one.of(one.tokens_for(100.0, (0.25, 0.25, 0.5))) == pytest.approx((25.0, 25.0, 50.0))


def test_equal_costs_are_near_the_least():
    """Item 32: quality a product of powers of the three token counts with like exponents; cost is least where each
    share is its exponent's, and the even split costs a few per cent more while they differ by a factor of 2."""
    prices = np.array([6.0, 10.0, 6.7])
    for exponents in ([1.0, 1.0, 1.0], [0.25, 0.25, 0.5]):
        powers = np.array(exponents) / sum(exponents)
        found = minimize(lambda u, p=powers: np.log(np.sum(prices * np.exp(u))) - p @ u, np.zeros(3), tol=1e-12)
        spent = prices * np.exp(found.x)
        assert spent / spent.sum() == pytest.approx(powers, abs=1e-4)
        even = TokenCosts(*prices).tokens_for(1.0)
        u = np.log([float(even.pretraining), float(even.rollout), float(even.inference)])
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
    lumped = float(TokenCosts.of_flops(N, trained, efficiency).rollout) / rate
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

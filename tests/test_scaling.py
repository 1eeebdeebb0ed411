"""Scaling laws: inverses, compute-optimal allocation, floors, ranges."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import configs
from scaling import ChinchillaLaw, range_warnings

LAWS = {i: ChinchillaLaw(**configs.load_law(i).coefficients) for i in configs.ids("laws")}
laws = st.sampled_from(sorted(LAWS))
log_params = st.floats(np.log(1e7), np.log(1e13))


@given(laws, log_params, st.floats(0.5, 5000.0))
def test_tokens_for_loss_inverts_loss(name, log_N, ratio):
    law, N = LAWS[name], np.exp(log_N)
    L = law.loss(N, ratio * N)
    # D comes from a difference L - E - A N^-alpha: digits are lost where the data term is small.
    data = float(law.B) * (ratio * N) ** -float(law.beta)
    assert law.tokens_for_loss(N, L) == pytest.approx(ratio * N, rel=1e-13 * float(L) / data / float(law.beta) + 1e-12)


@given(laws, log_params, st.floats(-30.0, 30.0))
def test_every_split_lies_on_the_curve_of_its_loss(name, log_N, u):
    law, N = LAWS[name], np.exp(log_N)
    L = float(law.loss(N, law.compute_optimal_tokens(N)))
    log_N2, log_D2 = law.log_split(u, L)
    assert law.loss(np.exp(log_N2), np.exp(log_D2)) == pytest.approx(L, rel=1e-12)
    assert np.exp(log_N2) >= float(law.params_floor(L)) * (1 - 1e-12)


@given(laws, log_params)
def test_compute_optimal_minimises_training_flops(name, log_N):
    law, N = LAWS[name], np.exp(log_N)
    D = law.compute_optimal_tokens(N)
    L = law.loss(N, D)
    u = law.compute_optimal_split()
    log_N2, log_D2 = law.log_split(u, L)
    assert np.exp(log_N2) == pytest.approx(N, rel=1e-9)
    assert np.exp(log_D2) == pytest.approx(float(D), rel=1e-9)
    slope = jax.grad(lambda u: sum(law.log_split(u, L)))(u)
    assert abs(slope) < 1e-9
    best = float(log_N2 + log_D2)
    for off in (-0.5, -0.05, 0.05, 0.5):
        assert float(sum(law.log_split(u + off, L))) > best


@given(laws, st.floats(-20.0, 20.0), st.floats(1e-4, 2.0))
def test_both_logarithms_are_convex_in_the_split(name, u, h):
    law = LAWS[name]
    L = float(law.loss(1e10, law.compute_optimal_tokens(1e10)))
    for i in (0, 1):
        left, middle, right = (float(law.log_split(x, L)[i]) for x in (u - h, u, u + h))
        assert left + right - 2 * middle > -1e-12 * abs(middle)


@given(laws, st.floats(np.log(1e9), np.log(1e16)))
def test_split_of_tokens_inverts_log_split(name, log_D):
    law = LAWS[name]
    L = float(law.loss(1e9, law.compute_optimal_tokens(1e9)))
    u = float(law.split_of_tokens(np.exp(log_D), L))
    if np.isfinite(u) and abs(u) < 20:
        assert float(law.log_split(u, L)[1]) == pytest.approx(log_D, rel=1e-12)


@pytest.mark.parametrize(
    ("law", "C", "ratio"),
    [
        ("besiroglu-2024", 5.76e23, 18.39),  # own recomputation beside Besiroglu et al. 2024's "about 20"
        ("epoch-2024", 5.76e23, 17.921012007),
        ("hoffmann-2022", 5.76e23, 58.9),
        ("hoffmann-2022-rounded", 5.76e23, 92.7),
        ("sardana-2024-code", 5.76e23, 55.2),
    ],
)
def test_tokens_per_parameter_at_the_budget_of_gopher(law, C, ratio):
    found = LAWS[law]
    low, high = 1e8, 1e14
    for _ in range(200):
        N = np.sqrt(low * high)
        low, high = (N, high) if 6 * N * float(found.compute_optimal_tokens(N)) < C else (low, N)
    # Printed to three or more digits.
    assert float(found.compute_optimal_tokens(N)) / N == pytest.approx(ratio, rel=2e-3)


def test_sardana_readme_loss():
    assert float(LAWS["sardana-2024-code"].loss(70e9, 1e12)) == pytest.approx(1.9472727897172717, rel=1e-15)
    assert float(LAWS["sardana-2024-code"].compute_optimal_tokens(30e9)) == pytest.approx(1.556e12, rel=1e-3)


def test_range_warnings_name_the_edge():
    valid = configs.load_law("epoch-2024").valid
    assert range_warnings("epoch-2024", valid, 1e9, 20e9) == []
    beyond = range_warnings("epoch-2024", valid, 1e12, 1e15)
    assert len(beyond) == 4
    assert any("tokens per parameter" in w and "341" in w for w in beyond)
    assert any("public text" in w for w in beyond)
    below = range_warnings("epoch-2024", valid, 1e7, 1e6)
    assert all("below" in w for w in below)
    assert len(below) == 3

"""Published numbers of dense laws, the scaling package as imported, ranges."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import configs
import scaling
from scaling import law_of, range_warnings

LAWS = {i: law_of(configs.load_law(i).coefficients) for i in configs.ids("laws")}


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


def test_the_package_names_what_it_offers_and_imports_without_jax():
    for name in scaling.__all__:
        assert getattr(scaling, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Kaplan'"):
        _ = scaling.Kaplan
    code = "import sys, scaling; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True, capture_output=True)

"""Laws of experts against the optima that their papers print."""

import csv
import re

import jax
import numpy as np
import pytest

import configs
from scaling import Conditions, law_of

BUDGETS = (1e20, 1e21, 1e22)
_UNITS = {"M": 1e6, "B": 1e9}


def optima(text):
    """Return {experts: ((N, D) by budget)} of "E=1 1.7B 9.7B / 5.7B 29.3B / ...; E=8 ..."."""
    out = {}
    for part in text.split(";"):
        experts, rest = re.fullmatch(r"\s*E=(\d+) (.*)", part).groups()
        pairs = [[float(x[:-1]) * _UNITS[x[-1]] for x in one.split()] for one in rest.split("/")]
        out[float(experts)] = pairs
    return out


def test_table_1_of_ludziejewski_is_recomputed(data):
    with open(data / "scaling" / "anchors.csv") as file:
        row = next(row for row in csv.DictReader(file) if row["anchor_id"] == "joint_moe_t1")
    published, own = optima(row["published_value"]), optima(row["own_value"])
    coefficients = configs.load_law("ludziejewski-2025").coefficients
    assert set(published) == {1.0, 8.0, 32.0}
    with jax.enable_x64(True):
        for experts in published:
            law = law_of(coefficients, Conditions(experts=experts))
            grid = np.exp(np.linspace(np.log(1e8), np.log(1e11), 20001))
            for budget, (N, D), (same_N, same_D) in zip(BUDGETS, published[experts], own[experts], strict=True):
                best = grid[np.argmin(np.asarray(law.loss(grid, budget / (6.0 * grid))))]
                tokens = float(law.compute_optimal_tokens(best))
                # The condition of optimality and a grid along 6 N D = budget say the same, to the grid's step.
                assert tokens == pytest.approx(budget / (6.0 * best), rel=2e-3)
                assert (best, tokens) == (pytest.approx(same_N, rel=5e-3), pytest.approx(same_D, rel=5e-3))
                # Printed in two or three digits: half a unit of the last, and 1 % for rounded coefficients.
                assert best == pytest.approx(N, rel=1e-2, abs=0.05e9 if N > 1e9 else 0.5e6)
                assert tokens == pytest.approx(D, rel=1e-2, abs=0.05e9)

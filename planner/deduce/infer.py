"""The most plausible model behind a card, and how far others are from it: damped Gauss-Newton, then Laplace."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiled import program

LINEARISED = "planner.deduce.forward:linearised"
_ROUNDS = 60
# Times the active parameters and chips thought of before, and batches: of 560 triples of 16 starts, the one that misses
# the best of all 16 least, in 2 of 90 fits (a fifth, once and five times both missed 13).
_STARTS = ((0.2, 0.2, 1.0), (0.2, 1.0, 1.0), (1.0, 25.0, 10.0))
_STILL = 1e-7  # gain of a step, in squared standard errors
_STUCK = 1e9
_FAR = 1.5  # ln that no step exceeds: prices are far from linear in the sizes


@dataclass(frozen=True)
class Found:
    """The optimum under one set of assumptions: logarithms ``x`` [9] and their covariance, those of `DERIVED` and
    their slopes, the card there [4, 3], and the logarithm of the evidence (Laplace), up to a constant."""

    x: np.ndarray
    covariance: np.ndarray
    derived: np.ndarray
    derived_slopes: np.ndarray
    lines: np.ndarray
    log_evidence: float

    def draws(self, count: int, random: np.random.Generator) -> np.ndarray:
        """Return draws of ``x`` and of what is derived, [count, 12]."""
        root = np.linalg.cholesky(self.covariance)
        off = random.standard_normal((count, len(self.x))) @ root.T
        return np.concatenate([self.x + off, self.derived + off @ self.derived_slopes.T], axis=1)


def infer(given: Mapping[str, Any]) -> Found:
    """Return the best of fits from several starts."""
    centre = np.asarray(given["centre"])
    found = []
    for size, chips, batch in _STARTS:
        start = np.array([*centre, *np.log([200.0, 10.0, 30.0, 500.0]) + np.log(batch)])
        start[0] += np.log(size) * (given["width"][0] > 0.1)
        start[3] += np.log(chips) * (given["width"][3] > 0.1)
        if given["typical"]:
            start[2] += np.log(1e5) + 0.4 * (start[0] - np.log(5e10))
        found.append(_descend(given, start))
    return max(found, key=lambda one: one.log_evidence)


def _descend(given: Mapping[str, Any], start: np.ndarray) -> Found:
    """Return the least sum of squares of `planner.deduce.forward.residuals` from ``start``.

    Levenberg and Marquardt: the damping falls where a step helps and rises where it does not.
    """
    run = program(LINEARISED, given, start)
    x, damping = start, 1e-2
    told = run(given, x)
    cost = float(told["r"] @ told["r"])
    for _ in range(_ROUNDS):
        gram, slope = told["J"].T @ told["J"], told["J"].T @ told["r"]
        step = -np.linalg.solve(gram + damping * np.diag(np.diag(gram)), slope)
        step *= min(1.0, _FAR / max(float(np.abs(step).max()), 1e-30))
        tried = run(given, x + step)
        new = float(tried["r"] @ tried["r"])
        if np.isfinite(new) and new < cost:
            gain, x, told, cost, damping = cost - new, x + step, tried, new, max(0.2 * damping, 1e-9)
            if gain < _STILL:
                break
        elif damping > _STUCK:
            break
        else:
            damping *= 8.0
    covariance = np.linalg.inv(told["J"].T @ told["J"])
    width = np.concatenate([given["width"], given["batch_width"]])
    weight = given["weight"][given["weight"] > 0.0]
    evidence = -0.5 * cost + 0.5 * float(np.linalg.slogdet(covariance)[1])
    evidence += float(np.log(weight).sum() - np.log(width).sum())
    return Found(x, covariance, told["derived"], told["derived_J"], told["lines"], evidence)

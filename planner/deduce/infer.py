"""The most plausible model behind a card, and how far others are from it: damped Gauss-Newton, then Laplace."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiled import program

LINEARISED = "planner.deduce.forward:linearised"
_ROUNDS = 60
# Times the active parameters, KV bytes and chips thought of before, and batches. On generated cards the 3 with other
# sizes miss the best of 16 starts in 2 of 90 fits (a fifth, once and five times missed 13); steps of price on public
# cards have a second optimum at small caches.
_STARTS = ((0.2, 1.0, 0.2, 1.0), (0.2, 0.03, 1.0, 1.0), (1.0, 1.0, 25.0, 10.0), (1.0, 0.03, 25.0, 10.0))
_WORTH, _APART = 3.0, 0.5  # ln of evidence within which an optimum counts, and of a size by which it is another
_STILL = 1e-4  # gain of a step, in squared standard errors
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


def infer(given: Mapping[str, Any]) -> list[Found]:
    """Return the optima that fits from several starts come to, the best first, others where they explain the card
    nearly as well: a step of price may be of a small cache, or have no reason in it."""
    centre = np.asarray(given["centre"])
    starts = []
    for size, cache, chips, batch in _STARTS:
        start = np.array([*centre, *np.log([200.0, 10.0, 30.0, 500.0]) + np.log(batch)])
        start[0] += np.log(size) * (given["width"][0] > 0.1)
        start[3] += np.log(chips) * (given["width"][3] > 0.1)
        if given["typical"]:
            start[2] += np.log(1e5 * cache) + 0.4 * (start[0] - np.log(5e10))
        starts.append(start)
    out: list[Found] = []
    for one in sorted((_descend(given, start) for start in starts), key=lambda one: -one.log_evidence):
        near = not out or out[0].log_evidence - one.log_evidence < _WORTH
        if near and all(np.abs(one.x - other.x)[:5].max() > _APART for other in out):
            out.append(one)
    return out


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

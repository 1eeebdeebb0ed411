"""Errors downstream that follow the loss: Err = eps - k exp(-gamma L) (Gadre et al. 2024, arXiv:2403.08540, eq. 5)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_SHALLOWEST, _STEEPEST = 1e-3, 100.0  # gamma times the range of losses: a straight line, a step
_STARTS = 512
_HALVINGS = 80  # of a step between starts: exact to double precision


@dataclass(frozen=True)
class Downstream:
    """The least-squares curve: ``eps`` of a model that knows nothing, ``k`` in errors, ``gamma`` per nat.

    ``objective`` is the sum of squares, ``gradient_norm`` that of half its gradient in (eps, k exp(-gamma mean L), ln
    gamma), of ``minima`` that the scan found the lowest. ``standard_errors`` are those of linear theory, empty where
    there are no more runs than coefficients. ``trouble`` says why the runs do not tell the curve, if so.
    """

    eps: float
    k: float
    gamma: float
    objective: float
    gradient_norm: float
    minima: int
    residuals: Float[np.ndarray, " n"]
    standard_errors: dict[str, float]
    trouble: str | None = None


def fit_errors(loss: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]) -> Downstream:
    """Return the exact least-squares fit of errors to losses in nats per token, n of each.

    Given gamma, eps and k are a line's two coefficients; the sum of squares is then a function of gamma alone, of which
    every minimum in a scan is found by halving where the slope changes sign.

    Raises:
        ValueError: fewer than three distinct losses.
    """
    if len(np.unique(loss)) < 3:
        raise ValueError("errors of three different losses at least are needed to fit eps, k and gamma")
    middle, span = float(loss.mean()), float(np.ptp(loss))
    x = loss - middle

    def at(gamma: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return eps, k, the sum of squares and its slope in ln gamma for every gamma, losses about their mean."""
        curve = np.exp(-gamma[:, None] * x)
        low = curve - curve.mean(1, keepdims=True)
        k = -(low * (error - error.mean())).sum(1) / (low**2).sum(1)
        eps = error.mean() + k * curve.mean(1)
        residual = error - eps[:, None] + k[:, None] * curve
        slope = -2.0 * gamma * k * (residual * curve * x).sum(1)
        return eps, k, (residual**2).sum(1), slope

    scan = np.geomspace(_SHALLOWEST / span, _STEEPEST / span, _STARTS)
    slope = at(scan)[3]
    turns = np.flatnonzero((slope[:-1] < 0) & (slope[1:] >= 0))
    left, right = scan[turns], scan[turns + 1]
    for _ in range(_HALVINGS if len(turns) else 0):
        middles = 0.5 * (left + right)
        falling = at(middles)[3] < 0
        left, right = np.where(falling, middles, left), np.where(falling, right, middles)
    ends = np.array([scan[0], scan[-1]])
    tried = np.concatenate([0.5 * (left + right), ends])
    best = int(np.argmin(at(tried)[2]))
    eps, k, squares, slope = (float(part[best]) for part in at(tried))
    gamma = float(tried[best])
    curve = np.exp(-gamma * x)
    residual = error - eps + k * curve
    norm = float(np.sqrt(residual.sum() ** 2 + (residual * curve).sum() ** 2 + (0.5 * slope) ** 2))
    trouble = None
    if np.ptp(error) == 0:
        trouble = "every error is the same: no curve can be told"
    elif best >= len(turns):
        trouble = (
            "errors rise in a straight line with the loss, or faster: eps, k and gamma cannot be told apart"
            if best == len(turns)
            else "errors change in one step: gamma is not bounded"
        )
    elif k <= 0:
        trouble = "errors do not rise with the loss: no such curve fits"
    scale = float(np.exp(gamma * middle))  # k belongs to losses about their mean until here
    jacobian = np.stack([np.ones_like(x), -curve / scale, k * loss * curve], axis=1)
    told = {} if trouble else _standard_errors(jacobian, squares)
    return Downstream(eps, float(k * scale), gamma, squares, norm, len(turns), residual, told, trouble)


def _standard_errors(jacobian: Float[np.ndarray, "n 3"], squares: float) -> dict[str, float]:
    spare = len(jacobian) - 3
    if spare < 1:
        return {}
    size = np.linalg.norm(jacobian, axis=0)
    spread = np.linalg.pinv((jacobian / size).T @ (jacobian / size))
    errors = np.sqrt(np.diag(spread) * squares / spare) / size
    return {name: float(value) for name, value in zip(("eps", "k", "gamma"), errors, strict=True)}

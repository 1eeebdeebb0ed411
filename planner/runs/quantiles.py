"""Quantiles of residuals that hold for the next run, not only for those seen."""

from math import ceil, floor

import numpy as np

LEVEL = 0.9  # of the intervals
FEWEST = 19  # residuals of which the smallest and the largest bound 90 % of the next ones


def conformal(residuals: np.ndarray) -> tuple[float, float]:
    """Return the bounds that the next residual lies between with probability `LEVEL`, if it is like these.

    Of n residuals in order those at floor(0.05 (n + 1)) and ceil(0.95 (n + 1)): split conformal prediction, Vovk,
    Gammerman and Shafer 2005, Algorithmic Learning in a Random World, section 4.2. Fewer than `FEWEST` bound less.
    """
    ordered = np.sort(residuals)
    count, tail = len(ordered), 0.5 * (1.0 - LEVEL)
    low = max(floor(round(tail * (count + 1), 9)), 1)
    high = min(ceil(round((1.0 - tail) * (count + 1), 9)), count)
    return float(ordered[low - 1]), float(ordered[high - 1])


def table(residuals: np.ndarray) -> dict[str, float]:
    """Return rows, mdape, p90 and the bounds of a 90 % interval of ``residuals``, log(measured / predicted)."""
    off = np.abs(np.expm1(np.clip(-residuals, -700.0, 700.0)))
    low, high = conformal(residuals)
    return {
        "rows": float(len(residuals)),
        "mdape": float(np.median(off)),
        "p90": float(np.quantile(off, 0.9)),
        "low": low,
        "high": high,
    }

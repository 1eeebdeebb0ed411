"""Predicted against measured: errors of runs, quantity by quantity."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .predict import Predicted
from .profile import by_tpot
from .run import Run

QUANTITIES = ("output_tokens_per_s", "tpot_s", "ttft_s")


def log_ratios(runs: Sequence[Run], predicted: Predicted) -> dict[str, np.ndarray]:
    """Return log(measured / predicted) by quantity, one entry per run, NaN where there is nothing to compare.

    The throughput at a request rate is the rate itself and tells nothing; a time to first token that has no bound is
    not predicted.
    """
    out = {}
    for name in QUANTITIES:
        measured = np.array([_measured(run, name) for run in runs], dtype=float)
        said = np.asarray(getattr(predicted, name), dtype=float)
        usable = np.isfinite(measured) & np.isfinite(said) & (said > 0)
        ratio = np.log(np.where(usable, measured, 1.0)) - np.log(np.where(usable, said, 1.0))
        out[name] = np.where(usable, ratio, np.nan)
    return out


def _measured(run: Run, name: str) -> float:
    value = getattr(run, name)
    if value is None or (name == "output_tokens_per_s" and run.request_rate is not None):
        return np.nan
    return value


def judged_by(run: Run) -> str:
    """Return the quantity that a run is judged by: its throughput, at a request rate its TPOT, else its TTFT."""
    if by_tpot(run):
        return "tpot_s"
    if run.output_tokens_per_s is not None and run.request_rate is None:
        return "output_tokens_per_s"
    return "ttft_s"


def headline(runs: Sequence[Run], ratios: dict[str, np.ndarray]) -> np.ndarray:
    """Return log(measured / predicted) of the quantity that each run is judged by."""
    return np.array([ratios[judged_by(run)][i] for i, run in enumerate(runs)])


def errors(ratios: np.ndarray) -> dict[str, float]:
    """Return rows, median and 90th percentile of |predicted / measured - 1|, and the median of the signed one.

    ``ratios`` are log(measured / predicted); at least one.
    """
    off = np.expm1(np.clip(-ratios, -700.0, 700.0))
    return {
        "rows": len(off),
        "mdape": float(np.median(np.abs(off))),
        "p90": float(np.quantile(np.abs(off), 0.9)),
        "bias": float(np.median(off)),
    }


def counted(reasons: Iterable[str]) -> list[dict[str, Any]]:
    """Return each reason with how many rows it holds for, most first."""
    return [{"why": why, "rows": rows} for why, rows in Counter(reasons).most_common()]

"""What runs do not say: coefficients that they leave open, sizes that never vary, runs far off the law."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from jaxtyping import Float

from scaling import FORMS
from scaling.fit import Ensemble, Fit

LEVELS = (0.05, 0.95)  # of 90 % intervals
WIDEST = 10.0  # a positive coefficient whose 90 % interval spans a larger factor is not identified
FAR = 5.0  # robust standard deviations, 1.4826 median absolute deviations, beyond which a run is far off
_SIGMA = 1.4826  # of the median absolute deviation, for normal errors
_TOGETHER = 0.9999  # correlation of ln N and ln D from which runs do not tell what either does
_COLUMNS = {
    "params": "parameters", "tokens": "tokens", "unique_tokens": "unique tokens", "experts": "experts",
    "sparsity": "sparsity", "train_bits": "training bits", "serve_bits": "serving bits",
}  # fmt: skip
# What each column alone tells of a law, where it is the size or the tokens of a sum of powers.
_OWN = {"params": ("A", "alpha", "N_c", "alpha_N"), "tokens": ("B", "beta", "D_c", "alpha_D")}


def intervals(ensemble: Ensemble, free: list[str]) -> dict[str, tuple[float, float]]:
    """Return the 90 % interval of each coefficient: percentiles of the ensemble."""
    out = {}
    for name in free:
        low, high = np.quantile(ensemble.coefficients[name], LEVELS)
        out[name] = (float(low), float(high))
    return out


def not_identified(law: Fit, between: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Return the coefficients that runs leave open, each with why.

    Those of `scaling.fit.Fit.loose` are; else a positive coefficient is one whose 90 % interval spans more than a
    factor of `WIDEST`, an exponent one whose interval is wider than the exponent itself.
    """
    out = dict.fromkeys(law.loose, "other values fit these runs as well")
    for name, (low, high) in between.items():
        if name in law.loose:
            continue
        value = law.coefficients[name]
        if name in FORMS[law.form].logs and not name.startswith(("alpha", "beta")):
            if not high <= WIDEST * low:
                out[name] = f"its 90 % interval, {low:.3g} to {high:.3g}, spans more than a factor of {WIDEST:g}"
        elif high - low > abs(value):
            out[name] = f"its 90 % interval, {low:.3g} to {high:.3g}, is wider than its value, {value:.3g}"
    return out


def correlations(law: Fit, ensemble: Ensemble) -> list[tuple[str, str, float]]:
    """Return how pairs of coefficients go together over the ensemble, the closest first; of logarithms where fitted
    as such."""
    logs = FORMS[law.form].logs
    values = {n: np.log(ensemble.coefficients[n]) if n in logs else ensemble.coefficients[n] for n in law.free}
    moving = [name for name in law.free if np.std(values[name]) > 0]
    out = [(a, b, float(np.corrcoef(values[a], values[b])[0, 1])) for a, b in combinations(moving, 2)]
    return sorted(out, key=lambda one: -abs(one[2]))


def sameness(columns: Mapping[str, Float[np.ndarray, " n"]], form: str) -> list[str]:
    """Return sentences on what runs cannot tell because a column never varies, or two always vary together."""
    out, names = [], FORMS[form].names
    moving = []
    for name, said in _COLUMNS.items():
        if name in columns:
            if np.ptp(np.log(columns[name])) > 1e-9:
                moving.append(name)
                continue
            own = [one for one in _OWN.get(name, ()) if one in names]
            what = f": {' and '.join(own)} cannot be identified" if own else ""
            out.append(f"every run has the same {said} ({columns[name][0]:.4g}){what}.")
    if {"params", "tokens"} <= set(moving):
        together = float(np.corrcoef(np.log(columns["params"]), np.log(columns["tokens"]))[0, 1])
        if abs(together) > _TOGETHER:
            out.append(
                "parameters and tokens rise together in all runs (correlation of their logarithms "
                f"{together:.5f}): what either does to the loss cannot be told from the other."
            )
    return out


def far_off(residuals: Float[np.ndarray, " n"]) -> np.ndarray:
    """Return the indices of runs whose residual is more than `FAR` robust standard deviations off, the worst first."""
    off = np.abs(residuals - np.median(residuals))
    sigma = _SIGMA * np.median(off)
    far = np.flatnonzero(off > max(FAR * sigma, 1e-12))
    return far[np.argsort(-off[far], kind="stable")]

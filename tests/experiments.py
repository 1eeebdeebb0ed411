"""Random experiments for fits, sensible and degenerate: sizes and tokens by design, losses by law and by accident."""

import numpy as np

from scaling.fit import Runs

DESIGNS = (
    "grid", "random", "isoflop", "equal", "one size", "one budget", "collinear", "two sizes", "narrow", "checkpoints"
)  # fmt: skip
NOISES = ("none", "tiny", "small", "big", "huge", "outliers", "rising", "constant", "unrelated")
ROWS = (5, 6, 8, 12, 16, 30, 64, 100, 240)


def runs(design: str, noise: str, rows: int, seed: int) -> Runs:
    """Return runs of a random law."""
    rng = np.random.default_rng(seed)
    N = 10 ** rng.uniform(6, 11, rows)
    D = N * 10 ** rng.uniform(-0.5, 4, rows)
    if design == "grid":
        side = int(np.ceil(np.sqrt(rows)))
        N = np.repeat(np.geomspace(1e7, 1e10, side), side)[:rows]
        D = np.tile(np.geomspace(1e9, 1e12, side), side)[:rows]
    elif design == "isoflop":
        D = 10.0 ** rng.choice([18, 19, 20, 21], rows) / 6 / N
    elif design == "equal":
        N, D = np.full(rows, N[0]), np.full(rows, D[0])
    elif design == "one size":
        N = np.full(rows, N[0])
    elif design == "one budget":
        D = np.full(rows, D[0])
    elif design == "collinear":
        D = 20 * N
    elif design == "two sizes":
        N = rng.choice(N[:2], rows)
    elif design == "narrow":
        N, D = (size * np.exp(0.02 * rng.standard_normal(rows)) for size in (1e9, 2e10))
    elif design == "checkpoints":
        N, D = rng.choice(N[:4], rows), np.sort(D)
    E = rng.choice([0.0, 1e-6, 0.3, 1.0, 1.8, 3.0])
    alpha, beta = rng.uniform(0.05, 0.9, 2)
    L = E + 10 ** rng.uniform(-1.5, 1) * (N / 1e9) ** -alpha + 10 ** rng.uniform(-1.5, 1) * (D / 2e10) ** -beta
    errors = rng.standard_normal(rows)
    if noise == "rising":
        L = E + 0.1 * (N / 1e9) ** alpha + 0.01 * rng.random(rows)
    elif noise == "constant":
        L = np.full(rows, 2.5)
    elif noise == "unrelated":
        L = np.exp(errors)
    elif noise == "outliers":
        L = L * np.exp(np.where(rng.random(rows) < 0.15, 3.0, 1e-3) * errors)
    else:
        L = L * np.exp({"none": 0.0, "tiny": 1e-8, "small": 3e-3, "big": 0.1, "huge": 2.0}[noise] * errors)
    return Runs(N, D, L)

"""Bootstrap refits of the 240 points of Besiroglu et al. 2024: CPU seconds per fit, beside SciPy and optimistix.

    python tests/benchmarks/fits.py [draws] [fits given to the others]

All minimise the same objective, the sum of Huber's losses (delta 1e-3) of log residuals over the same resamplings,
from the same start, the optimum of all points, in float64. CPU seconds are of the whole process, compiling left out.
Fits count as at the optimum where the objective is within 1e-9 of ours and the gradient's norm at most 1e-8.
SciPy runs one fit at a time: as in Besiroglu's notebook, which minimises over ln E, ln A, ln B, alpha, beta of raw
sizes with exact gradients by autograd; the same with a compiled gradient (jax); and in the centred variables that ours
uses. SciPy's own tolerance, 1e-5 of the gradient's largest part, ends before the optimum: so the last two run to 1e-9,
too. optimistix runs BFGS under vmap, to rtol = atol = 1e-8 or 1,024 steps.
"""
# ruff: noqa: E402 (jax is set up before anything else imports it)

import os
import sys
import time
import warnings
from pathlib import Path

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)

import autograd
import autograd.numpy as anp
import jax.numpy as jnp
import numpy as np
import optimistix
import pandas as pd
from scipy.optimize import minimize

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from scaling.fit import DELTA, Runs, bootstrap, fit
from scaling.runs import resampled

DATA = Path(os.environ.get("LLM_PLANNER_DATA", ROOT.parent / "shared" / "data"))


def points() -> Runs:
    """Return the 240 points."""
    table = pd.read_csv(DATA / "scaling/epoch_chinchilla_fig4.csv")
    table = table[table["dropped_by_epoch_notebook"] == 0]
    return Runs(*(table[name].to_numpy(float) for name in ("n_params", "d_tokens", "loss_nats")))


def objective_of(runs: Runs, log_N: float, log_D: float):
    """Return the objective of (ln E, ln A', ln B', alpha, beta) and weights, sizes about exp(``log_N``, ``log_D``)."""
    N, D, L = (jnp.log(jnp.asarray(column)) for column in (runs.params, runs.tokens, runs.loss))

    def objective(theta, weights):
        E, A, B, alpha, beta = theta
        terms = jnp.stack([jnp.full_like(L, E), A - alpha * (N - log_N), B - beta * (D - log_D)])
        size = jnp.abs(jax.nn.logsumexp(terms, axis=0) - L)
        return jnp.sum(weights * jnp.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)))

    return objective


def published(runs: Runs, weights, x0):
    """Return the fits of the published method: SciPy's BFGS, to its own tolerance, with gradients by autograd."""

    def objective(theta, N, D, L):
        E, A, B, alpha, beta = theta
        one, two, three = A - alpha * N, B - beta * D, E * anp.ones(len(L))
        top = anp.maximum(anp.maximum(one, two), three)
        size = anp.abs(top + anp.log(anp.exp(one - top) + anp.exp(two - top) + anp.exp(three - top)) - L)
        return anp.sum(anp.where(size <= DELTA, 0.5 * size**2, DELTA * (size - 0.5 * DELTA)))

    slope, out = autograd.grad(objective), []
    for row in weights.astype(int):
        data = tuple(np.repeat(np.log(column), row) for column in (runs.params, runs.tokens, runs.loss))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lost precision: counted instead
            out.append(minimize(objective, x0, args=data, jac=slope, method="BFGS").x)
    return np.array(out)


def timed(run):
    """Return what ``run`` returns and its CPU seconds."""
    begin = time.process_time()
    out = jax.block_until_ready(run())
    return out, time.process_time() - begin


def main() -> None:
    """Print the table."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    others = min(draws, int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    runs = points()
    best = fit(runs)
    bootstrap(runs, best, draws, seed=1)  # compiles
    ours, seconds = timed(lambda: bootstrap(runs, best, draws))
    assert ours.lost == 0
    weights = np.concatenate(list(resampled(runs, draws, 0, draws)))[:others]
    known = ours.objective[:others]
    print(f"CPU seconds of {draws:,} refits: {seconds:.3f}; others on the first {others}")
    print(f"{'':44}{'us per fit':>12}{'ratio':>9}{'at the optimum':>16}")
    per = seconds / draws
    print(f"{'this package':44}{per * 1e6:12.0f}{1:9.0f}{draws:10d} of {draws}")

    c = best.coefficients
    mean = float(np.log(runs.params).mean()), float(np.log(runs.tokens).mean())

    def start(log_N, log_D):
        size, data = np.log(c["A"]) - c["alpha"] * log_N, np.log(c["B"]) - c["beta"] * log_D
        return np.array([np.log(c["E"]), size, data, c["alpha"], c["beta"]])

    centred = jax.jit(jax.value_and_grad(objective_of(runs, *mean)))

    def told(name, thetas, values, spent):
        # Judged in one set of variables for all: those about the mean run.
        gradients = np.array([centred(t, w)[1] for t, w in zip(thetas, weights, strict=True)])
        there = (np.abs(values / known - 1) < 1e-9) & (np.linalg.norm(gradients, axis=1) <= 1e-8)
        print(f"{name:44}{spent / others * 1e6:12.0f}{spent / others / per:9.0f}{int(there.sum()):10d} of {others}")

    thetas, spent = timed(lambda: published(runs, weights, start(0.0, 0.0)))
    values = np.array([objective_of(runs, 0.0, 0.0)(t, w) for t, w in zip(thetas, weights, strict=True)])
    thetas[:, 1] -= thetas[:, 3] * mean[0]
    thetas[:, 2] -= thetas[:, 4] * mean[1]
    told("SciPy BFGS with autograd, as in the notebook", thetas, values, spent)

    rows = (
        ("SciPy BFGS, centred, to 1e-9", mean, 1e-9),
        ("SciPy BFGS, centred, to its own 1e-5", mean, None),
        ("SciPy BFGS, raw sizes, to 1e-9", (0.0, 0.0), 1e-9),
        ("SciPy BFGS, raw sizes, to its own 1e-5", (0.0, 0.0), None),
    )
    for name, about, tol in rows:
        function = jax.jit(jax.value_and_grad(objective_of(runs, *about)))
        x0 = start(*about)
        jax.block_until_ready(function(x0, weights[0]))

        def value(x, w, function=function):
            return tuple(np.asarray(part) for part in function(x, w))

        def scipy(value=value, x0=x0, tol=tol):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of lost precision: counted instead
                return [minimize(lambda x, w=w: value(x, w), x0, jac=True, method="BFGS", tol=tol) for w in weights]

        found, spent = timed(scipy)
        thetas = np.array([one.x for one in found])
        thetas[:, 1] -= thetas[:, 3] * (mean[0] - about[0])
        thetas[:, 2] -= thetas[:, 4] * (mean[1] - about[1])
        told(name, thetas, np.array([one.fun for one in found]), spent)

    solver = optimistix.BFGS(rtol=1e-8, atol=1e-8)
    function, x0 = objective_of(runs, *mean), jnp.asarray(start(*mean))

    @jax.jit
    @jax.vmap
    def batch(w):
        return optimistix.minimise(function, solver, x0, args=w, max_steps=1024, throw=False).value

    jax.block_until_ready(batch(weights))
    thetas, spent = timed(lambda: batch(weights))
    told(
        "optimistix BFGS under vmap",
        thetas,
        np.array([function(t, w) for t, w in zip(thetas, weights, strict=True)]),
        spent,
    )


if __name__ == "__main__":
    main()

"""Fits of laws to runs, in traced functions of plain numbers: where to start, and many fits at once.

Arguments are nested dicts; the name of the form is a key, so that programs can be kept by structure.
"""

from collections.abc import Mapping
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from .forms import FORMS, Form
from .huber import coefficients, oracle, vector
from .newton import descent, minimise

_WORKING_SET = 32768  # runs times fits side by side: what stays in a processor's cache
_LEAST_SHARE = 0.02  # of the loss that a term starts with at least
_MOST_STARTS = 64


def _form(problem: Mapping[str, Any]) -> tuple[Form, Mapping[str, Array]]:
    ((name, columns),) = problem["runs"].items()
    return FORMS[name], columns


def refit(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return m fits of one form: ``coefficients``, ``objective``, ``gradient_norm``, ``hessian`` and ``passes``, m of
    each.

    ``problem`` holds ``runs`` (by form: params, tokens, loss and the form's own columns, r of each), ``weights`` (m by
    r), ``starts`` and ``free`` (by coefficient, m of each; 1 where it may move), ``means`` of the logarithms of sizes,
    and ``options`` (delta, nats, tolerance).
    """
    form, columns = _form(problem)
    means, options = problem["means"], problem["options"]
    starts = vector(form, problem["starts"], means)
    free = jnp.stack([problem["free"][name] for name in form.names])
    weights = problem["weights"].T
    busy = max(4, min(64, _WORKING_SET // weights.shape[0]))
    found = minimise(oracle(form, columns, options, means), weights, starts, free, options["tolerance"], busy)
    return {
        "coefficients": coefficients(form, found.theta, means),
        "objective": found.value,
        "gradient_norm": found.gradient_norm,
        "passes": found.passes,
        "hessian": jnp.moveaxis(found.hessian, -1, 0),
    }


def grid(form: Form, fixed: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return the coefficients that fits start from, but for those in which the loss is linear: at most `_MOST_STARTS`
    combinations, evenly picked, of what the form lists."""
    names = [name for name in form.names if name not in form.linear]
    every = list(product(*((fixed[n],) if n in fixed else form.starts[n] for n in names)))
    picked = np.unique(np.linspace(0, len(every) - 1, min(len(every), _MOST_STARTS)).round().astype(int))
    return {name: np.array([every[i][k] for i in picked], float) for k, name in enumerate(names)}


def begin(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return whole starts: coefficients in which the loss is linear by least squares of relative errors, given the
    others in ``problem["starts"]`` (g of each) and ``fixed`` ones (by coefficient: 1 and the value, or 0).

    A term starts with `_LEAST_SHARE` of the loss at least.
    """
    form, columns = _form(problem)
    weights = problem["weights"][0]
    fixed = problem["fixed"]

    def one(others: Mapping[str, Array]) -> dict[str, Array]:
        if not form.linear:
            return dict(others)
        ones = {**others, **dict.fromkeys(form.linear, 1.0)}
        moved = [form.loss({**ones, name: 2.0}, columns) for name in form.linear]
        bases = (jnp.stack(moved, axis=1) - form.loss(ones, columns)[:, None]) / columns["loss"][:, None]
        told = jnp.stack([fixed[name]["is"] for name in form.linear])
        value = jnp.stack([fixed[name]["value"] for name in form.linear])
        left = 1.0 - bases @ (told * value)
        free = bases * (1.0 - told)
        scale = jnp.sqrt((weights[:, None] * bases**2).sum(0)) + 1e-300
        scaled = free / scale
        normal = scaled.T @ (weights[:, None] * scaled) + jnp.diag(told + 1e-9)
        # No LAPACK: a program that calls it cannot be kept on disk, for what it calls is not there when loaded.
        solved = descent(normal[:, :, None], (scaled.T @ (weights * left))[:, None])[:, 0] / scale
        mean = (weights[:, None] * bases).sum(0) / jnp.maximum(weights.sum(), 1e-300)
        solved = jnp.maximum(solved, _LEAST_SHARE / jnp.maximum(mean, 1e-300))
        return dict(others) | dict(zip(form.linear, jnp.where(told > 0, value, solved), strict=True))

    return jax.vmap(one)(problem["starts"])

"""Fit the parameters of a kernel model to timings: robust, in logarithms, with standard errors.

A model is an `eqx.Module` whose leaves are positive parameters. Residuals are log(predicted / measured),
so an error of 10 % counts the same for a microsecond and a second; Huber's loss keeps the odd
timing from steering the rest; a weak prior around the starting parameters holds those that the
timings cannot tell apart.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

# Log ratio: timings of one shape under two software stacks differ by 1-5 % in the median, 9-25 % at the 90th
# percentile.
HUBER_DELTA = 0.1
# A factor of 2.7 either way: holds what timings cannot tell apart, and a handful of rows outweighs it for what they
# can.
PRIOR_LOG_SD = 1.0
MAX_PASSES = 200
_SETTLED = 1e-9  # relative decrease of the objective


class Fit(NamedTuple):
    """The fitted model, the standard errors of its parameters' logarithms (same structure), and how the fit ended."""

    model: Any
    log_standard_errors: Any
    objective: Float[Array, ""]
    passes: Int[Array, ""]
    settled: Array


def fit(
    seconds: Callable[[Any, Any], Float[Array, ""]],
    start: Any,
    row: Any,
    measured_s: Float[Array, " rows"],
    cluster: Int[Array, " rows"],
    weight: Float[Array, " rows"],
    prior_log_sd: float | Float[Array, " parameters"] = PRIOR_LOG_SD,
) -> Fit:
    """Minimise the Huber loss of log(seconds(model, row) / measured_s) by Levenberg-Marquardt.

    ``seconds`` maps a model and one row to its predicted time; ``row`` stacks the rows on the first axis of every
    leaf; a row of ``weight`` 0 counts for nothing (padding), so that fits of many sizes share one program. ``cluster``
    numbers the groups (0 to rows - 1) whose residuals move together, such as one weight matrix at many batch sizes;
    standard errors are the cluster sandwich (Liang and Zeger 1986, Biometrika 73(1)), so that dense sweeps do not pass
    for independent evidence. Marquardt 1963, SIAM J. 11(2); reweighting after Huber 1981, Robust Statistics, section
    7.8.
    """
    centre, unravel = ravel_pytree(jax.tree.map(lambda x: jnp.log(jnp.asarray(x, measured_s.dtype)), start))
    log_measured = jnp.log(measured_s)

    def log_seconds(theta, one):
        return jnp.log(seconds(jax.tree.map(jnp.exp, unravel(theta)), one))

    def objective(theta):
        size = jnp.abs(jax.vmap(log_seconds, (None, 0))(theta, row) - log_measured) / HUBER_DELTA
        huber = jnp.where(size < 1.0, 0.5 * size**2, size - 0.5)
        return jnp.sum(weight * huber) + 0.5 * jnp.sum(((theta - centre) / prior_log_sd) ** 2)

    slope = jax.vmap(jax.value_and_grad(log_seconds), (None, 0))

    def normal_equations(theta):
        predicted, jacobian = slope(
            theta, row
        )  # one reverse sweep per row costs less than one forward sweep per parameter
        residual = predicted - log_measured
        trust = weight * jnp.minimum(1.0, HUBER_DELTA / jnp.maximum(jnp.abs(residual), 1e-300)) / HUBER_DELTA**2
        scores = jacobian * (trust * residual)[:, None]
        hessian = jacobian.T @ (jacobian * trust[:, None]) + jnp.eye(theta.size) / prior_log_sd**2
        # Beyond delta Huber's slope no longer grows: those rows pull, but do not hold.
        holds = weight * (jnp.abs(residual) < HUBER_DELTA) / HUBER_DELTA**2
        bread = jacobian.T @ (jacobian * holds[:, None]) + jnp.eye(theta.size) / prior_log_sd**2
        return scores, scores.sum(0) + (theta - centre) / prior_log_sd**2, hessian, bread

    def step(state):
        theta, value, damping, passes, _ = state
        _, gradient, hessian, _ = normal_equations(theta)

        def attempt(trial):
            _, _, damping, tries = trial
            damped = hessian + damping * jnp.diag(jnp.diag(hessian))
            move = -jnp.linalg.solve(damped, gradient)
            new = theta + jnp.clip(move, -1.0, 1.0)
            return new, objective(new), damping * 4.0, tries + 1

        def rejected(trial):
            _, new_value, _, tries = trial
            return ~(new_value < value) & (tries < 20)

        trial = attempt((theta, value, damping, 0))
        new, new_value, damping, _ = jax.lax.while_loop(rejected, attempt, trial)
        better = new_value < value
        settled = ~better | (value - new_value < _SETTLED * value)
        return (
            jnp.where(better, new, theta),
            jnp.where(better, new_value, value),
            jnp.maximum(damping / 16.0, 1e-9),
            passes + 1,
            settled,
        )

    def going(state):
        return ~state[-1] & (state[-2] < MAX_PASSES)

    begin = (centre, objective(centre), jnp.asarray(1e-2, centre.dtype), jnp.asarray(0), jnp.asarray(False))
    theta, value, _, passes, settled = jax.lax.while_loop(going, step, begin)
    scores, _, _, bread = normal_equations(theta)
    grouped = jax.ops.segment_sum(scores, cluster, num_segments=measured_s.size)
    inverse = jnp.linalg.inv(bread)
    variance = jnp.diag(inverse @ (grouped.T @ grouped + jnp.eye(theta.size) / prior_log_sd**2) @ inverse)
    return Fit(jax.tree.map(jnp.exp, unravel(theta)), unravel(jnp.sqrt(variance)), value, passes, settled)


fit_jit = eqx.filter_jit(fit)

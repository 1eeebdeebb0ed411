"""What a held model size costs under draws of the law and of errors of the times, in traced functions.

A size is decided before training; tokens follow the loss, and batches the times, as they turn out to be. So cost is
the training run of the tokens that a draw of the law asks for, plus serving with the times of a draw.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hw import Scalar

from ..economics import Fleet
from ..training.names import MAX_TRAINING_TOKENS
from .describe import log_limits, useful_batch
from .problem import Problem, law_under, target_loss

_WITHIN = 1e-8  # of ln(use / limit): what rounding leaves of a limit that binds


def tokens(given: Mapping[str, Any], choices: Mapping[str, Any], laws: Any, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ln of the tokens that reach the quality, under n ``laws``, on r ``choices``, at ``log_N`` (n by r by g).

    NaN where no number of tokens up to `MAX_TRAINING_TOKENS` does. ``base_log_N`` and ``base_log_D`` (n by r) are those
    of compute-optimal training of the same quality.
    """

    def draw(coefficients: Mapping[str, Scalar], log_N: Any) -> dict[str, Any]:
        asked = {**given, "law": coefficients}
        loss = target_loss(asked)

        def on(choice: Mapping[str, Any], log_N: Any) -> dict[str, Any]:
            law = law_under(asked, choice)
            found = jnp.log(law.tokens_for_loss(jnp.exp(log_N), loss))
            base_log_N, base_log_D = law.log_split(law.compute_optimal_split(loss), loss)
            able = found <= jnp.log(MAX_TRAINING_TOKENS)
            return {"log_D": jnp.where(able, found, jnp.nan), "base_log_N": base_log_N, "base_log_D": base_log_D}

        return jax.vmap(on)(choices, log_N)

    return jax.vmap(draw)(laws, sizes["log_N"])


def serving(
    given: Mapping[str, Any], choices: Mapping[str, Any], residuals: Mapping[str, Any], points: Mapping[str, Any]
) -> dict[str, Any]:
    """Return chip-seconds of serving and ln of the batch of m fleets: each of its choice, residuals and ``log_N``, with
    every time exp(``log_slow``) times as long; NaN where a request alone exceeds a limit.

    Times that are longer by a factor are the same as latency limits that are shorter and a demand that is larger by it.
    """

    def one(choice: Mapping[str, Any], left: Mapping[str, Any], log_N: Scalar, log_slow: Scalar) -> dict[str, Any]:
        slow = jnp.exp(log_slow)
        scaled = {
            "lifetime_tokens": given["lifetime_tokens"] * slow,
            "tpot_s": given["tpot_s"] / slow,
            "ttft_s": given["ttft_s"] / slow,
        }
        problem = Problem.of({**given, **scaled}, choice, left)
        model = problem.shape.transformer(jnp.exp(log_N))
        batch = useful_batch(problem, model)
        point = problem.serving(model, batch)
        inside = jnp.max(log_limits(problem, point)) <= _WITHIN
        fleet = Fleet.for_demand(problem.demand, point)
        return {"chip_s": jnp.where(inside, fleet.chip_seconds, jnp.nan), "log_B": jnp.log(batch)}

    return jax.vmap(one)(choices, residuals, points["log_N"], points["log_slow"])

"""The compute-optimal size at a budget, under many laws of one form at once."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .bisection import bisect
from .forms import law_of
from .law import Conditions


def compute_optimal(problem: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``log_params`` and ``loss``, n by b each: the size that makes the most of 6 N D = C, all tokens new.

    ``problem`` holds ``law`` (by coefficient, n of each), ``conditions`` (what `Conditions` takes) and ``flops`` (b
    budgets). Where loss only falls with size, or only rises, the logarithm is that of the budget, or zero.
    """
    conditions = Conditions(**problem["conditions"])

    def one(coefficients: Mapping[str, Any], flops: Any) -> dict[str, Any]:
        law = law_of(coefficients, conditions)

        def loss(log_params):
            return jnp.asarray(law.loss(jnp.exp(log_params), flops / (6.0 * jnp.exp(log_params))))

        found = bisect(lambda log_params: jax.grad(loss)(log_params) > 0.0, 0.0, jnp.log(flops))
        return {"log_params": found, "loss": loss(found)}

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(problem["law"], problem["flops"])

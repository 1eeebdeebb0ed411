"""Bisection of monotone conditions, for single numbers and for lanes alike."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def bisect(
    crossed: Callable[[Array], Bool[Array, "..."]],
    low: Float[Array, "..."] | float,
    high: Float[Array, "..."] | float,
    halvings: int = 60,
) -> Float[Array, "..."]:
    """Return the last point from ``low`` towards ``high`` at which the monotone ``crossed`` is still false.

    60 halvings of an interval of logarithms below 100 are exact to double precision.
    """

    def halve(_, bracket):
        left, right = bracket
        middle = 0.5 * (left + right)
        over = crossed(middle)
        return jnp.where(over, left, middle), jnp.where(over, middle, right)

    bracket = jnp.broadcast_arrays(jnp.asarray(low, float), jnp.asarray(high, float))
    return jax.lax.fori_loop(0, halvings, halve, tuple(bracket))[0]

"""What every law answers: loss from size and tokens, and the sizes and tokens that share a loss.

Forms with more inputs (experts, bits) become laws once those are stated: `Conditions`.
"""

from abc import abstractmethod
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .bisection import bisect

Scalar = Float[Array, ""] | float

_FAR = 60.0  # splits beyond this leave one of the two terms less than rounding


class Conditions(eqx.Module):
    """What a law may depend on besides N and D; each is ignored by laws that know nothing of it.

    ``experts`` is total over active parameters of the feed-forward blocks and ``sparsity`` total over active
    parameters of the whole model (both 1: dense). ``train_bits`` and ``serve_bits`` are of a weight, in training and
    once trained.
    """

    experts: Scalar = 1.0
    sparsity: Scalar = 1.0
    train_bits: Scalar = 16.0
    serve_bits: Scalar = 16.0


class Conditional(Protocol):
    """A form with more inputs than size and tokens, or none: a law once `Conditions` are stated."""

    def at(self, conditions: Conditions) -> "Law":
        """Return the law under ``conditions``, of N active parameters and D tokens."""
        ...


class Law(eqx.Module):
    """Loss in nats per token as a function of N active parameters and D tokens, and its inverses.

    The curve of one loss is told by a ``split`` u, any real number: sigmoid(u) is the share of what N and D may still
    lose that is left to N. Along it ln N falls and ln D rises, both convex in u: what keeps plans geometric programs.
    """

    def at(self, conditions: Conditions) -> "Law":
        """Return the law under ``conditions``: itself, where it knows nothing of them."""
        del conditions
        return self

    @abstractmethod
    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token of ``N`` parameters trained on ``D`` tokens."""

    @abstractmethod
    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the least D that reaches ``L`` with ``N`` parameters; not finite where none does."""

    @abstractmethod
    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the least N that reaches ``L`` with ``D`` tokens; not finite where none does."""

    @abstractmethod
    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with the best D there is; every plan has more."""

    @abstractmethod
    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L`` at split ``u``."""

    @abstractmethod
    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the largest split to consider with at most ``D`` tokens; -inf where even endless parameters fail."""

    @abstractmethod
    def lowest_loss(self) -> Scalar:
        """Return the loss that endless parameters and new tokens approach."""

    def compute_optimal_split(self, L: Scalar) -> Scalar:
        """Return the split that minimises 6 N D at loss ``L``, where d(ln N + ln D)/du is zero: by bisection."""

        def rising(u: Array) -> Array:
            log_flops = lambda u: jnp.asarray(sum(self.log_split(u, L)))  # noqa: E731
            return jax.jvp(log_flops, (u,), (jnp.ones_like(u),))[1] > 0.0

        return bisect(rising, -_FAR, _FAR)

    def compute_optimal_tokens(self, N: Scalar) -> Scalar:
        """Return the D with which ``N`` parameters are compute-optimal, where loss falls as fast with ln N as with
        ln D: by bisection."""

        def slopes(log_D: Array) -> tuple[Array, Array]:
            loss = lambda n, d: jnp.asarray(self.loss(jnp.exp(n), jnp.exp(d)))  # noqa: E731
            return jax.grad(loss, (0, 1))(jnp.log(N) + 0.0 * log_D, log_D)

        def too_many(log_D: Array) -> Array:
            by_size, by_tokens = slopes(log_D)
            return by_tokens > by_size  # both fall: tokens have less left to give

        def balance(log_D: Array) -> Array:
            by_size, by_tokens = slopes(log_D)
            return jnp.log(by_tokens / by_size)

        found = jax.lax.stop_gradient(bisect(too_many, 0.0, 100.0))

        # A step of Newton's method carries the derivatives that bisection loses.
        value, slope = jax.jvp(balance, (found,), (jnp.ones_like(found),))
        return jnp.exp(found - value / jax.lax.stop_gradient(slope))

    @abstractmethod
    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return monomials of N and D, in their worth, whose sum is `loss_of_parts`'s argument."""

    def loss_of_parts(self, total: Scalar) -> Scalar:
        """Return the loss of a sum of `parts`: the sum itself, unless a law says otherwise."""
        return total

    def log_most_worth(self) -> tuple[Scalar, Scalar]:
        """Return ln of the most that parameters and tokens can be worth: without end, unless tokens repeat."""
        return jnp.inf, jnp.inf

    def counts(self, log_N: Scalar, log_D: Scalar) -> tuple[Scalar, Scalar]:
        """Return ln of the parameters and tokens that are worth so many new ones: the same, unless tokens repeat."""
        return log_N, log_D


def positive(value: Scalar) -> Array:
    """Return ``value`` where it is positive, else NaN: compilers differ on powers of negative numbers."""
    return jnp.where(jnp.asarray(value) > 0.0, value, jnp.nan)

"""Training on repeated tokens: any law of new tokens, with those that come again worth less and less.

Muennighoff et al. 2023, arXiv:2305.16264, eq. 5 and 6: of U unique tokens, D of training count as
D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), and N of parameters as N' likewise beyond those for which U tokens are
compute-optimal.
"""

import jax
import jax.numpy as jnp

from .bisection import bisect
from .chinchilla import ChinchillaLaw
from .law import Conditions, Law, Scalar

_MOST = 30.0  # exponents of exp(-R / R_D) beyond which more repetition adds nothing that can be told


class RepeatedLaw(Law):
    """``base``, a law of new tokens, where only ``unique_tokens`` are to be had.

    ``R_D`` and ``R_N`` are numbers of repetitions after which tokens, and excess parameters, have lost 1 - 1/e of their
    worth. The maps from D' to D and from N' to N are increasing and convex in logarithms, so curves of one loss stay
    convex.
    """

    base: Law
    unique_tokens: Scalar
    unique_params: Scalar
    R_D: Scalar
    R_N: Scalar

    @classmethod
    def of(cls, base: Law, unique_tokens: Scalar, R_D: Scalar, R_N: Scalar) -> "RepeatedLaw":
        """Return the law, with the N for which the unique tokens are compute-optimal under ``base``."""
        if isinstance(base, ChinchillaLaw):
            params = base.compute_optimal_params(unique_tokens)
        else:
            params = params_of_tokens(base, unique_tokens)
        return cls(base, unique_tokens, params, R_D, R_N)

    def at(self, conditions: Conditions) -> Law:
        """Return the law with its base under ``conditions``."""
        return RepeatedLaw.of(self.base.at(conditions), self.unique_tokens, self.R_D, self.R_N)

    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token of ``N`` parameters trained on ``D`` tokens, repeated ones included."""
        return self.base.loss(worth(N, self.unique_params, self.R_N), worth(D, self.unique_tokens, self.R_D))

    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the D that reaches ``L``; not finite where no number of repetitions does."""
        needed = self.base.tokens_for_loss(worth(N, self.unique_params, self.R_N), L)
        return jnp.exp(log_for_worth(jnp.log(needed), self.unique_tokens, self.R_D, strict=True))

    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the N that reaches ``L``; not finite where none does."""
        needed = self.base.params_for_loss(worth(D, self.unique_tokens, self.R_D), L)
        return jnp.exp(log_for_worth(jnp.log(needed), self.unique_params, self.R_N, strict=True))

    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with endless repetition, of U (1 + R_D) tokens' worth, or with the best
        D of the base law if that is less."""
        most = jnp.log(self.unique_tokens * (1.0 + self.R_D))
        needed = self.base.params_for_loss(jnp.exp(most), L)
        at = lambda log_D: jnp.asarray(self.base.loss(needed, jnp.exp(log_D)))  # noqa: E731
        rising = jax.jvp(at, (most,), (jnp.ones_like(most),))[1] > 0.0
        needed = jnp.where(rising, self.base.params_floor(L), needed)
        return jnp.exp(log_for_worth(jnp.log(needed), self.unique_params, self.R_N, strict=True))

    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L`` at the split ``u`` of the base law, in worth."""
        return self.counts(*self.base.log_split(u, L))

    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return the base law's terms, of what N and D are worth."""
        return self.base.parts(N, D)

    def loss_of_parts(self, total: Scalar) -> Scalar:
        """Return the loss of a sum of the base law's terms."""
        return self.base.loss_of_parts(total)

    def log_most_worth(self) -> tuple[Scalar, Scalar]:
        """Return ln of what endless parameters and repetition are worth."""
        most = self.unique_params * (1.0 + self.R_N), self.unique_tokens * (1.0 + self.R_D)
        return jnp.log(most[0]), jnp.log(most[1])

    def counts(self, log_N: Scalar, log_D: Scalar) -> tuple[Scalar, Scalar]:
        """Return ln of the parameters and tokens, repeated ones counted, that are worth so many."""
        log_N = log_for_worth(log_N, self.unique_params, self.R_N)
        return log_N, log_for_worth(log_D, self.unique_tokens, self.R_D)

    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the split at which ``D`` tokens reach ``L``; -inf if even endless parameters do not."""
        most = self.unique_tokens * (1.0 + self.R_D * (1.0 - jnp.exp(-_MOST)))
        return self.base.last_split(jnp.minimum(worth(D, self.unique_tokens, self.R_D), most), L)

    def lowest_loss(self) -> Scalar:
        """Return the loss of endless parameters on the unique tokens, endlessly repeated: a bound, for N counts less
        beyond `unique_params`."""
        most = self.unique_params * (1.0 + self.R_N), self.unique_tokens * (1.0 + self.R_D)
        return self.base.loss(*most)


def params_of_tokens(law: Law, D: Scalar) -> Scalar:
    """Return the N for which ``D`` tokens are compute-optimal under any law."""

    def excess(log_N):
        return jnp.log(law.compute_optimal_tokens(jnp.exp(log_N))) - jnp.log(D)

    found = jax.lax.stop_gradient(bisect(lambda log_N: excess(log_N) > 0.0, 0.0, 100.0))
    # As in `Law.compute_optimal_tokens`: a step that carries the derivatives that bisection loses.
    value, slope = jax.jvp(excess, (found,), (jnp.ones_like(found),))
    return jnp.exp(found - value / jax.lax.stop_gradient(slope))


def worth(count: Scalar, unique: Scalar, decay: Scalar) -> Scalar:
    """Return what ``count`` tokens (or parameters) of which ``unique`` are new are worth (eq. 5)."""
    repeats = jnp.maximum(count / unique - 1.0, 0.0)
    return jnp.minimum(count, unique) - unique * decay * jnp.expm1(-repeats / decay)


def log_for_worth(log_worth: Scalar, unique: Scalar, decay: Scalar, strict: bool = False) -> Scalar:
    """Return the ln of the count that is worth exp(``log_worth``), the inverse of `worth`.

    No count is worth unique (1 + decay) or more: then inf if ``strict``, else a line goes on from where the inverse is
    as steep as doubles can tell, for searches to find their way back.
    """
    extra = jnp.exp(log_worth) / unique - 1.0
    left = 1.0 - extra / decay
    least = jnp.exp(-_MOST)
    inside = jnp.log(unique) + jnp.log1p(-decay * jnp.log(jnp.where((extra > 0) & (left > least), left, 1.0)))
    if strict:
        outside = jnp.where(left > 0, jnp.log(unique) + jnp.log1p(decay * _MOST), jnp.inf)
    else:
        edge = jnp.log(unique) + jnp.log1p(decay * (1.0 - least))
        steep = (1.0 + decay) / ((1.0 + decay * _MOST) * least)
        outside = jnp.log(unique) + jnp.log1p(decay * _MOST) + steep * (log_worth - edge)
    told = jnp.where(extra <= 0, log_worth, jnp.where(left > least, inside, outside))
    return jnp.where(jnp.isfinite(log_worth), told, log_worth)

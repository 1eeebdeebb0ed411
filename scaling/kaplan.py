"""The form of Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5: L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D.

N excludes embeddings there, and data were repeated: see the caveats of laws of this form.
"""

import jax.numpy as jnp

from .chinchilla import ChinchillaLaw
from .law import Law, Scalar


class KaplanLaw(Law):
    """L^(1 / alpha_D) is a Chinchilla form without an irreducible part: its inverses are those of that form.

    N_c in parameters and D_c in tokens, exponents positive.
    """

    N_c: Scalar
    D_c: Scalar
    alpha_N: Scalar
    alpha_D: Scalar

    def _inner(self) -> ChinchillaLaw:
        exponent = self.alpha_N / self.alpha_D
        return ChinchillaLaw(0.0, self.N_c**exponent, self.D_c, exponent, 1.0)

    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token (eq. 1.5)."""
        return ((self.N_c / N) ** (self.alpha_N / self.alpha_D) + self.D_c / D) ** self.alpha_D

    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the D that reaches ``L`` with ``N`` parameters; not finite at or below `params_floor`."""
        found = self._inner().tokens_for_loss(N, L ** (1.0 / self.alpha_D))
        return jnp.where(found > 0, found, jnp.nan)  # a power of one keeps the sign of what is missing

    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` with ``D`` tokens; not finite where even endless parameters do not."""
        found = self._inner().params_for_loss(D, L ** (1.0 / self.alpha_D))
        return jnp.where(found > 0, found, jnp.nan)

    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with unlimited data."""
        return self._inner().params_floor(L ** (1.0 / self.alpha_D))

    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L``: sigmoid(u) is the size term's share of L^(1 / alpha_D)."""
        return self._inner().log_split(u, L ** (1.0 / self.alpha_D))

    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return the two terms of L^(1 / alpha_D)."""
        return self._inner().parts(N, D)[1:]

    def loss_of_parts(self, total: Scalar) -> Scalar:
        """Return the loss."""
        return total**self.alpha_D

    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the split at which ``D`` tokens reach ``L``; -inf if even endless parameters do not."""
        return self._inner().last_split(D, L ** (1.0 / self.alpha_D))

    def lowest_loss(self) -> Scalar:
        """Return zero: the form has no irreducible part."""
        return 0.0

    def compute_optimal_split(self, L: Scalar) -> Scalar:
        """Return the split that minimises 6 N D at any fixed loss."""
        return self._inner().compute_optimal_split(L)

    def compute_optimal_tokens(self, N: Scalar) -> Scalar:
        """Return the D with which ``N`` parameters are compute-optimal."""
        return self._inner().compute_optimal_tokens(N)

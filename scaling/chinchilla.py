"""The Chinchilla form of a scaling law and its inverses.

Hoffmann et al. 2022, arXiv:2203.15556, eq. 2: L(N, D) = E + A / N^alpha + B / D^beta, with N
parameters, D training tokens, L nats per token.
"""

import jax
import jax.numpy as jnp

from .law import Law, Scalar, positive


class ChinchillaLaw(Law):
    """L(N, D) = E + A N^-alpha + B D^-beta. E, A and B in nats per token, exponents positive."""

    E: Scalar
    A: Scalar
    B: Scalar
    alpha: Scalar
    beta: Scalar

    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token of ``N`` parameters trained on ``D`` tokens (eq. 2)."""
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta

    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the D that reaches ``L`` with ``N`` parameters; not finite at or below `params_floor`."""
        return (self.B / positive(L - self.E - self.A * N**-self.alpha)) ** (1.0 / self.beta)

    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` with ``D`` tokens; not finite where even endless parameters do not."""
        return (self.A / positive(L - self.E - self.B * D**-self.beta)) ** (1.0 / self.alpha)

    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with unlimited data; every plan has more."""
        return (self.A / positive(L - self.E)) ** (1.0 / self.alpha)

    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L`` at split ``u``.

        The share s = sigmoid(u) of the reducible loss L - E is left to the size term A N^-alpha and
        1 - s to the data term. Every real u is a valid pair, and both logarithms are convex in u:
        ln N falls towards the floor as u grows while ln D rises without bound.
        """
        reducible = jnp.log(L - self.E)
        log_N = (jnp.log(self.A) - reducible + jax.nn.softplus(-u)) / self.alpha
        log_D = (jnp.log(self.B) - reducible + jax.nn.softplus(u)) / self.beta
        return log_N, log_D

    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return the three terms."""
        return [self.E, self.A * N**-self.alpha, self.B * D**-self.beta]

    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the split u at which ``D`` tokens reach ``L``; -inf if even endless parameters do not."""
        data = self.B * D**-self.beta / (L - self.E)
        return jnp.log(jnp.maximum(1.0 - data, 0.0)) - jnp.log(data)

    def lowest_loss(self) -> Scalar:
        """Return E."""
        return self.E

    def compute_optimal_split(self, L: Scalar) -> Scalar:
        """Return the split that minimises 6 N D at any fixed loss: alpha s = beta (1 - s) (eq. 4)."""
        del L
        return jnp.log(self.beta) - jnp.log(self.alpha)

    def compute_optimal_tokens(self, N: Scalar) -> Scalar:
        """Return the D with which ``N`` parameters are compute-optimal: (beta B / (alpha A) N^alpha)^(1/beta)."""
        return (self.beta * self.B / (self.alpha * self.A) * N**self.alpha) ** (1.0 / self.beta)

    def compute_optimal_params(self, D: Scalar) -> Scalar:
        """Return the N for which ``D`` tokens are compute-optimal, the inverse of `compute_optimal_tokens`."""
        return (self.alpha * self.A / (self.beta * self.B) * D**self.beta) ** (1.0 / self.alpha)

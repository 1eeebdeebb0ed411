"""A law with two terms in model size: the form that mixtures of experts take at one sparsity."""

import jax
import jax.numpy as jnp

from .law import Law, Scalar, positive

_STEPS = 12  # of Newton's method on a convex function, from the left: quadratic, exact to rounding after ten


class TwoSizesLaw(Law):
    """L(N, D) = E + A N^-alpha + A_2 N^-alpha_2 + B D^-beta, everything positive."""

    E: Scalar
    A: Scalar
    alpha: Scalar
    A_2: Scalar
    alpha_2: Scalar
    B: Scalar
    beta: Scalar

    def _size_term(self, N: Scalar) -> Scalar:
        return self.A * N**-self.alpha + self.A_2 * N**-self.alpha_2

    def _log_params(self, log_term: Scalar) -> Scalar:
        """Return the ln N whose two terms sum to exp(``log_term``): the logarithm of their sum is convex in ln N."""
        one, two = jnp.log(self.A), jnp.log(self.A_2)
        log_N = jnp.maximum((one - log_term) / self.alpha, (two - log_term) / self.alpha_2)
        for _ in range(_STEPS):
            first, second = one - self.alpha * log_N, two - self.alpha_2 * log_N
            share = jax.nn.sigmoid(first - second)
            slope = -(share * self.alpha + (1.0 - share) * self.alpha_2)
            log_N = log_N - (jnp.logaddexp(first, second) - log_term) / slope
        return log_N

    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token."""
        return self.E + self._size_term(N) + self.B * D**-self.beta

    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the D that reaches ``L``; not finite at or below `params_floor`."""
        return (self.B / positive(L - self.E - self._size_term(N))) ** (1.0 / self.beta)

    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the N that reaches ``L``; not finite where even endless parameters do not."""
        return jnp.exp(self._log_params(jnp.log(positive(L - self.E - self.B * D**-self.beta))))

    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with unlimited data."""
        return jnp.exp(self._log_params(jnp.log(positive(L - self.E))))

    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L``, the share sigmoid(u) of L - E left to the size terms."""
        reducible = jnp.log(L - self.E)
        log_N = self._log_params(reducible - jax.nn.softplus(-u))
        return log_N, (jnp.log(self.B) - reducible + jax.nn.softplus(u)) / self.beta

    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return the four terms."""
        return [self.E, self.A * N**-self.alpha, self.A_2 * N**-self.alpha_2, self.B * D**-self.beta]

    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the split at which ``D`` tokens reach ``L``; -inf if even endless parameters do not."""
        data = self.B * D**-self.beta / (L - self.E)
        return jnp.log(jnp.maximum(1.0 - data, 0.0)) - jnp.log(data)

    def lowest_loss(self) -> Scalar:
        """Return E."""
        return self.E

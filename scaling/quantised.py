"""Loss at low precision: weights of few bits in training make a model smaller, few bits afterwards make it worse.

Kumar et al. 2024, arXiv:2411.04330, section 4 and appendix K: L = A N_eff^-alpha + B D^-beta + E + delta_PTQ.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from .bisection import bisect
from .law import Conditions, Law, Scalar, positive

_STEPS = 14  # of Newton's method on a convex function, from above: quadratic once near
_SMALLEST, _LARGEST = 0.0, 100.0  # ln N that floors are sought between
_STEEP = 100.0  # ln of tokens per ln of loss that is missing
_NO_LOSS = 1e-300  # stands for a penalty of exactly zero


class PrecisionLaw(eqx.Module):
    """Kumar et al. 2024 for weights: P bits in training count as N_eff = N (1 - exp(n_w - P / gamma_w)), and P_post
    bits once trained add delta = C_T exp(-P_post / gamma_post) D^gamma_D / N_eff^gamma_N.

    Left out: bits of activations and KV cache, which stay at 16 here, and the factor that lets models trained in few
    bits lose less afterwards, whose constants are not published in full; delta is zero where P_post is not below P.
    """

    E: Scalar
    A: Scalar
    B: Scalar
    alpha: Scalar
    beta: Scalar
    gamma_w: Scalar
    n_w: Scalar
    C_T: Scalar
    gamma_D: Scalar
    gamma_N: Scalar
    gamma_post: Scalar

    def at(self, conditions: Conditions) -> "QuantisedLaw":
        """Return the law at bits in training and in serving."""
        trained, served = conditions.train_bits, conditions.serve_bits
        counts = 1.0 - jnp.exp(self.n_w - trained / self.gamma_w)
        penalty = self.C_T * jnp.exp(-served / self.gamma_post) * counts**-self.gamma_N
        penalty = jnp.where(served < trained, penalty, _NO_LOSS)
        A = self.A * counts**-self.alpha
        return QuantisedLaw(self.E, A, self.B, self.alpha, self.beta, penalty, self.gamma_D, self.gamma_N)


class QuantisedLaw(Law):
    """L(N, D) = E + A N^-alpha + B D^-beta + C D^gamma_D N^-gamma_N: more training makes quantising worse.

    With N held the loss falls with D to a least one and then rises: inverses take the falling side. The set of sizes
    and tokens within a loss is convex in logarithms, as for every sum of monomials, so the least cost on its rim is the
    least of all; ln N and ln D need not be convex in the split.
    """

    E: Scalar
    A: Scalar
    B: Scalar
    alpha: Scalar
    beta: Scalar
    C: Scalar
    gamma_D: Scalar
    gamma_N: Scalar

    def loss(self, N: Scalar, D: Scalar) -> Scalar:
        """Return the loss in nats per token, once quantised."""
        lost = self.C * D**self.gamma_D * N**-self.gamma_N
        return self.E + self.A * N**-self.alpha + self.B * D**-self.beta + lost

    def tokens_for_loss(self, N: Scalar, L: Scalar) -> Scalar:
        """Return the least D that reaches ``L``; not finite where none does."""
        room = L - self.E - self.A * N**-self.alpha
        power = self.gamma_D / self.beta
        log_scale = jnp.log(self.C) - self.gamma_N * jnp.log(N) + power * jnp.log(self.B)
        log_term, over = _larger_root(jnp.log(positive(room)), log_scale, -power)
        return jnp.where(over <= 0, jnp.exp((jnp.log(self.B) - log_term) / self.beta), jnp.nan)

    def params_for_loss(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the least N that reaches ``L`` with ``D`` tokens; not finite where none does."""
        fine = self.E + self.B * D**-self.beta < L
        log_N = bisect(lambda log_N: jnp.asarray(self.loss(jnp.exp(log_N), D) <= L), _SMALLEST, _LARGEST)
        return jnp.where(fine, jnp.exp(log_N), jnp.nan)

    def params_floor(self, L: Scalar) -> Scalar:
        """Return the N that reaches ``L`` only with the best D there is: of more, or fewer, loss is higher."""

        def within(log_N):
            # At the D of least loss beta B D^-beta = gamma_D C D^gamma_D N^-gamma_N.
            lost = jnp.log(self.gamma_D) + jnp.log(self.C) - self.gamma_N * log_N
            log_D = (jnp.log(self.beta) + jnp.log(self.B) - lost) / (self.beta + self.gamma_D)
            by_data = self.B * jnp.exp(-self.beta * log_D) * (1.0 + self.beta / self.gamma_D)
            return jnp.asarray(self.E + self.A * jnp.exp(-self.alpha * log_N) + by_data <= L)

        return jnp.exp(bisect(within, _SMALLEST, _LARGEST))

    def log_split(self, u: Scalar, L: Scalar) -> tuple[Scalar, Scalar]:
        """Return (ln N, ln D) on the curve of loss ``L``: sigmoid(u) of what quantising leaves is left to N.

        Where quantising leaves nothing, tokens grow steeply: no plan ends there.
        """
        size, data = jnp.log(self.A) + jax.nn.softplus(-u), jnp.log(self.B) + jax.nn.softplus(u)
        power = self.gamma_N / self.alpha - self.gamma_D / self.beta
        log_scale = jnp.log(self.C) + self.gamma_D / self.beta * data - self.gamma_N / self.alpha * size
        log_room, over = _larger_root(jnp.log(L - self.E), log_scale, power)
        return (size - log_room) / self.alpha, (data - log_room) / self.beta + _STEEP * over

    def parts(self, N: Scalar, D: Scalar) -> list[Scalar]:
        """Return the four terms."""
        lost = self.C * D**self.gamma_D * N**-self.gamma_N
        return [self.E, self.A * N**-self.alpha, self.B * D**-self.beta, lost]

    def last_split(self, D: Scalar, L: Scalar) -> Scalar:
        """Return the split of ``D`` tokens, or of the least N if that comes first; -inf if none reaches ``L``."""
        data = self.B * D**-self.beta / (L - self.E)
        most = jnp.log(jnp.maximum(1.0 - data, 0.0)) - jnp.log(data)

        def falling(u):
            _, slope = jax.jvp(lambda u: jnp.asarray(self.log_split(u, L)[0]), (u,), (jnp.ones_like(u),))
            return (slope >= 0.0) | (self.log_split(u, L)[1] > jnp.log(D))

        return jnp.where(most > -jnp.inf, bisect(falling, -60.0, jnp.maximum(most, -60.0)), most)

    def lowest_loss(self) -> Scalar:
        """Return E: endless parameters lose nothing to quantising."""
        return self.E


def _larger_root(log_whole: Scalar, log_scale: Scalar, power: Scalar) -> tuple[Scalar, Scalar]:
    """Return the larger z at which e^z + exp(log_scale + power z) = exp(log_whole), and by how much the left side's
    logarithm exceeds at its least where there is none: then z is where it is least."""
    turn = jnp.where(power < 0, (log_scale + jnp.log(jnp.maximum(-power, 1e-30))) / (1.0 - power), -jnp.inf)
    turn = jnp.maximum(turn, -700.0)
    over = jnp.maximum(jnp.logaddexp(turn, log_scale + power * turn) - log_whole, 0.0)
    over = jnp.where(power < 0, over, 0.0)
    z = jnp.asarray(log_whole, float)
    for _ in range(_STEPS):
        other = log_scale + power * z
        share = jax.nn.sigmoid(z - other)
        slope = jnp.maximum(share + (1.0 - share) * power, 1e-3)
        z = jnp.maximum(z - (jnp.logaddexp(z, other) - log_whole) / slope, turn)
    return jnp.where(over > 0, turn, z), over

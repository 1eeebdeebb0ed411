"""Laws of mixtures of experts: with the experts stated, sums of powers of active parameters and tokens."""

import equinox as eqx
import jax.numpy as jnp

from .chinchilla import ChinchillaLaw
from .law import Conditions, Law, Scalar
from .two_sizes import TwoSizesLaw


def counted(experts: Scalar, start: Scalar, most: Scalar) -> Scalar:
    """Return the experts that count, from ``start`` for one to at most ``most``: 1 / (1 / (E - 1 + s) + 1 / most), with
    1 / s = 1 / start - 1 / most (Clark et al. 2022, arXiv:2202.01169, eq. 5)."""
    return 1.0 / (1.0 / (experts - 1.0 + 1.0 / (1.0 / start - 1.0 / most)) + 1.0 / most)


class JointMoELaw(eqx.Module):
    """Ludziejewski et al. 2025, arXiv:2502.05172, eq. 6: N active parameters, D tokens and E experts, one to a token.

    L = a F^delta N^(alpha + gamma ln F) + b F^omega D^(beta + zeta ln F) + c with F = `counted` (E), a Chinchilla form
    for any one E. Fine-grained experts, several to a token, are taken as total over active ones: the runs had one.
    """

    a: Scalar
    b: Scalar
    c: Scalar
    alpha: Scalar
    beta: Scalar
    gamma: Scalar
    delta: Scalar
    omega: Scalar
    zeta: Scalar
    E_start: Scalar
    E_max: Scalar

    def at(self, conditions: Conditions) -> ChinchillaLaw:
        """Return the law at a number of experts."""
        log = jnp.log(counted(conditions.experts, self.E_start, self.E_max))
        return ChinchillaLaw(
            E=self.c,
            A=self.a * jnp.exp(self.delta * log),
            B=self.b * jnp.exp(self.omega * log),
            alpha=-(self.alpha + self.gamma * log),
            beta=-(self.beta + self.zeta * log),
        )


class SparsityLaw(eqx.Module):
    """Abnar et al. 2025, arXiv:2501.12370, eq. 6, told in active parameters: N is 1 - S of the total for sparsity S.

    L = a / T^alpha + b / D^beta + c / (1 - S)^lambda + d / ((1 - S)^delta T^gamma) + e, with T total parameters.
    """

    a: Scalar
    b: Scalar
    c: Scalar
    d: Scalar
    e: Scalar
    alpha: Scalar
    beta: Scalar
    gamma: Scalar
    delta: Scalar
    lambda_: Scalar

    def at(self, conditions: Conditions) -> Law:
        """Return the law at total over active parameters, 1 / (1 - S)."""
        ratio = conditions.sparsity
        return TwoSizesLaw(
            E=self.e + self.c * ratio**self.lambda_,
            A=self.a * ratio**-self.alpha,
            alpha=self.alpha,
            A_2=self.d * ratio ** (self.delta - self.gamma),
            alpha_2=self.gamma,
            B=self.b,
            beta=self.beta,
        )

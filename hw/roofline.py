"""The roofline: an operation takes as long as the slower of its arithmetic and its memory traffic.

Williams, Waterman and Patterson, CACM 52(4), 2009. Real kernels overlap the two only in part, so
the time used for planning is their p-norm with a fitted exponent; the hard maximum is its limit.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from .chip import Scalar


class Operation(eqx.Module):
    """One operation's two times in seconds, both positive."""

    compute_s: Scalar
    memory_s: Scalar

    def seconds(self, overlap_exponent: Scalar) -> Scalar:
        """Return (c^p + m^p)^(1/p), between the hard maximum and the sum; log-convex where c and m are."""
        p = overlap_exponent
        return jnp.exp(jnp.logaddexp(p * jnp.log(self.compute_s), p * jnp.log(self.memory_s)) / p)

    def hard_seconds(self) -> Scalar:
        """Return max(c, m), the textbook roofline that no execution beats."""
        return jnp.maximum(self.compute_s, self.memory_s)

    def scaled(self, factor: Scalar) -> "Operation":
        """Return the operation repeated ``factor`` times."""
        return Operation(self.compute_s * factor, self.memory_s * factor)


class Sum(eqx.Module):
    """Operations and plain seconds that run one after the other, the whole ``factor`` times.

    Scaling shares the parts: a solver that meets the same parts twice evaluates them once.
    """

    parts: list[Operation | Scalar]
    factor: Scalar = 1.0

    def scaled(self, factor: Scalar) -> "Sum":
        """Return the sum repeated ``factor`` times."""
        return Sum(self.parts, self.factor * factor)

    def seconds(self, overlap_exponent: Scalar) -> Scalar:
        """Return the time of the whole."""
        return self.factor * total(self.parts, overlap_exponent)


Part = Operation | Sum | Scalar


def scaled(parts: Sequence[Part], factor: Scalar) -> list[Part]:
    """Return every part times ``factor``."""
    return [p.scaled(factor) if isinstance(p, Operation | Sum) else p * factor for p in parts]


def total(parts: Sequence[Part], overlap_exponent: Scalar) -> Scalar:
    """Return the sum of the parts, the two sides of each roofline joined by the p-norm."""
    values = [p.seconds(overlap_exponent) if isinstance(p, Operation | Sum) else p for p in parts]
    return sum(values[1:], values[0])

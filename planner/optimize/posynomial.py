"""Sums of monomials and of roofline pairs, in logarithms, with exact gradients and Hessians.

A geometric program in standard form, widened by one atom: the p-norm of two monomials. Each
function is f_i(v) = ln sum_g exp(y_ig(v)), where a group y is either one affine term c + a.v or a
pair (1/p) ln(exp(p (c1 + a1.v)) + exp(p (c2 + a2.v))). All are convex in v, the logarithms of the
variables (Boyd, Kim, Vandenberghe and Hassibi 2007, "A tutorial on geometric programming").

The model is written once, in plain arithmetic, as lists of parts. Because each part is a monomial,
one evaluation and one Jacobian at any point give it exactly, which keeps the solver's loop small.
Programs are solved many at a time: every array here ends in an axis of n lanes, one per program,
so that each operation is one vectorised loop over lanes.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hw import Operation, Part, Scalar

Functions = Sequence[Sequence[Part]]

_TINY = 1e-300  # stands for a part that is exactly zero, such as the network of a single chip

_STEP = 16.0  # in a log-variable


class Posynomials(eqx.Module):
    """F functions of V log-variables as data: ``offsets`` c and ``exponents`` a of K terms, in n lanes.

    The first 2P terms are the P pairs, first members then second members; the rest stand alone.
    ``layout`` counts the pairs and the single terms of each function, in order.
    """

    offsets: Float[Array, "K n"]
    exponents: Float[Array, "K V n"]
    overlap_exponent: Float[Array, " n"]
    layout: tuple[tuple[int, int], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, functions: Callable[[Array], Functions], overlap_exponent: Scalar, at: Array) -> "Posynomials":
        """Read one lane's monomials off ``functions`` at the log-variables ``at`` and a step along each.

        A monomial's slope between two points is exact; steps of 2^4 keep rounding below 1e-14.
        Called under `jax.vmap` with ``out_axes=-1``, which adds the axis of lanes.
        """
        layout: list[tuple[int, int]] = []

        def terms(v):
            sums = functions(v)
            rooflines = [part for parts in sums for part in parts if isinstance(part, Operation)]
            single = [part for parts in sums for part in parts if not isinstance(part, Operation)]
            count = [sum(isinstance(part, Operation) for part in parts) for parts in sums]
            layout[:] = [(pairs, len(parts) - pairs) for pairs, parts in zip(count, sums, strict=True)]
            flat = [r.compute_s for r in rooflines] + [r.memory_s for r in rooflines] + single
            return jnp.log(jnp.maximum(jnp.stack([jnp.asarray(t, float) for t in flat]), _TINY))

        points = jnp.concatenate([at[None], at + _STEP * jnp.eye(at.shape[0])])
        values = jax.vmap(terms, out_axes=1)(points)
        slopes = (values[:, 1:] - values[:, :1]) / _STEP
        return cls(values[:, 0] - (slopes * at).sum(1), slopes, jnp.asarray(overlap_exponent, float), tuple(layout))

    def _split(self, pairs: Array, singles: Array) -> list[Array]:
        """Return the rows of each function, its pairs before its single terms."""
        out, p, s = [], 0, 0
        for of_pairs, of_singles in self.layout:
            rows = [pairs[p : p + of_pairs], singles[s : s + of_singles]]
            out.append(jnp.concatenate([r for r in rows if r.shape[0]]))
            p, s = p + of_pairs, s + of_singles
        return out

    def _groups(self, v: Array) -> tuple[list[Array], Array]:
        """Return each function's groups y, and the weight of the first member of every pair."""
        q, p = sum(pairs for pairs, _ in self.layout), self.overlap_exponent
        z = self.offsets + (self.exponents * v).sum(1)
        lead = p * (z[:q] - z[q : 2 * q])
        rest = jnp.exp(-jnp.abs(lead))
        pair = jnp.maximum(z[:q], z[q : 2 * q]) + jnp.log1p(rest) / p
        return self._split(pair, z[2 * q :]), jnp.where(lead > 0, 1.0, rest) / (1.0 + rest)

    def values(self, v: Float[Array, "V n"]) -> Float[Array, "F n"]:
        """Return the functions at ``v``, each the logarithm of a posynomial."""
        return jnp.stack([jax.nn.logsumexp(y, axis=0) for y in self._groups(v)[0]])

    def lagrangian(
        self, v: Float[Array, "V n"], multipliers: Float[Array, "F n"]
    ) -> tuple[Float[Array, "F n"], Float[Array, "F V n"], Float[Array, "V V n"]]:
        """Return values, gradients, and the Hessian of the sum of multipliers times values, positive semidefinite."""
        groups, lead = self._groups(v)
        q, a = lead.shape[0], self.exponents
        gap = a[:q] - a[q : 2 * q]
        slopes = self._split(a[q : 2 * q] + lead[:, None] * gap, a[2 * q :])
        values, gradients, weights, bends = [], [], [], []
        for (pairs, _), y, slope, multiplier in zip(self.layout, groups, slopes, multipliers, strict=True):
            top = y.max(0)
            share = jnp.exp(y - top)
            whole = share.sum(0)
            values.append(top + jnp.log(whole))
            share = share / whole
            gradients.append((share[:, None] * slope).sum(0))
            weights.append(multiplier * share)
            bends.append(weights[-1][:pairs])
        gradient = jnp.stack(gradients)
        bend = jnp.concatenate(bends) * self.overlap_exponent * lead * (1.0 - lead)
        vectors = jnp.concatenate([*slopes, gradient, gap])
        factors = jnp.concatenate([*weights, -multipliers, bend])
        hessian = ((factors[:, None] * vectors)[:, :, None] * vectors[:, None, :]).sum(0)
        return jnp.stack(values), gradient, hessian

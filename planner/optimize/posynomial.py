"""Sums of monomials and of roofline pairs, in logarithms, with exact gradients and Hessians.

A geometric program in standard form, widened by one atom, the p-norm of two monomials, and by
sharing. Each function is f_i(v) = ln sum_m exp(c_m + a_m.v + h(v)), v the logarithms of the
variables, where h is zero or a shared sum h_j(v) = ln sum_g exp(y_g(v)), and a group y is either
one affine term or a pair (1/p) ln(exp(p (c1 + a1.v)) + exp(p (c2 + a2.v))). All are convex in v
(Boyd, Kim, Vandenberghe and Hassibi 2007, "A tutorial on geometric programming").

The model is written once, in plain arithmetic, as lists of parts. Because each part is a monomial,
a few evaluations give it exactly, which keeps the solver's loop small.
Programs are solved many at a time: every array here ends in an axis of n lanes, one per program,
so that each operation is one vectorised loop over lanes.
"""

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hw import Operation, Part, Scalar, Sum

Functions = Sequence[Sequence[Part]]

_TINY = 1e-300  # stands for a part that is exactly zero, such as the network of a single chip
_STEP = 16.0  # in a log-variable
_PLAIN = -1  # a member without a shared sum


class Posynomials(eqx.Module):
    """F functions of V log-variables as data: ``offsets`` c and ``exponents`` a of K terms, in n lanes.

    The terms are the shared sums' P pairs (first members, then second members), their single terms,
    and the functions' members. ``shared`` counts pairs and single terms of each shared sum;
    ``members`` lists, for each function, the shared sum of each member, or -1.
    """

    offsets: Float[Array, "K n"]
    exponents: Float[Array, "K V n"]
    overlap_exponent: Float[Array, " n"]
    shared: tuple[tuple[int, int], ...] = eqx.field(static=True)
    members: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @classmethod
    def of(cls, functions: Callable[[Array], Functions], overlap_exponent: Scalar, at: Array) -> "Posynomials":
        """Read one lane's monomials off ``functions`` at the log-variables ``at`` and a step along each.

        A monomial's slope between two points is exact; steps of 2^4 keep rounding below 1e-14.
        Called under `jax.vmap` with ``out_axes=-1``, which adds the axis of lanes.
        """
        shared: list[tuple[int, int]] = []
        members: list[tuple[int, ...]] = []

        def terms(v):
            sums: list[list[Operation | Scalar]] = []
            flat: list[Scalar] = []
            members.clear()
            for parts in functions(v):
                owners = []
                for part in parts:
                    part = Sum([part]) if isinstance(part, Operation) else part
                    if isinstance(part, Sum):
                        known = [i for i, other in enumerate(sums) if other is part.parts]
                        if not known:
                            sums.append(part.parts)
                        owners.append(known[0] if known else len(sums) - 1)
                        flat.append(part.factor)
                    else:
                        owners.append(_PLAIN)
                        flat.append(part)
                members.append(tuple(owners))
            pairs = [part for parts in sums for part in parts if isinstance(part, Operation)]
            single = [part for parts in sums for part in parts if not isinstance(part, Operation)]
            count = [sum(isinstance(part, Operation) for part in parts) for parts in sums]
            shared[:] = [(c, len(parts) - c) for c, parts in zip(count, sums, strict=True)]
            rows = [p.compute_s for p in pairs] + [p.memory_s for p in pairs] + single + flat
            return jnp.log(jnp.maximum(jnp.stack([jnp.asarray(row, float) for row in rows]), _TINY))

        points = jnp.concatenate([at[None], at + _STEP * jnp.eye(at.shape[0])])
        values = jax.vmap(terms, out_axes=1)(points)
        slopes = (values[:, 1:] - values[:, :1]) / _STEP
        offsets = values[:, 0] - (slopes * at).sum(1)
        return cls(offsets, slopes, jnp.asarray(overlap_exponent, float), tuple(shared), tuple(members))

    def _counts(self) -> tuple[int, int]:
        """Return the numbers of pairs and of single terms in the shared sums."""
        return sum(p for p, _ in self.shared), sum(s for _, s in self.shared)

    def _split(self, pairs: Array, singles: Array) -> list[Array]:
        """Return the rows of each shared sum, its pairs before its single terms."""
        out, p, s = [], 0, 0
        for of_pairs, of_singles in self.shared:
            rows = [pairs[p : p + of_pairs], singles[s : s + of_singles]]
            out.append(jnp.concatenate([r for r in rows if r.shape[0]]))
            p, s = p + of_pairs, s + of_singles
        return out

    def _evaluate(self, v: Array) -> tuple[list[Array], Array, list[Array]]:
        """Return the shared sums' groups, the weight of the first member of each pair, and the members' values."""
        (q, s), p = self._counts(), self.overlap_exponent
        z = self.offsets + (self.exponents * v).sum(1)
        lead = p * (z[:q] - z[q : 2 * q])
        rest = jnp.exp(-jnp.abs(lead))
        pair = jnp.maximum(z[:q], z[q : 2 * q]) + jnp.log1p(rest) / p
        groups = self._split(pair, z[2 * q : 2 * q + s])
        sums = [_log_sum(y)[0] for y in groups]
        out, row = [], 2 * q + s
        for owners in self.members:
            own = [z[row + i] + (0.0 if j == _PLAIN else sums[j]) for i, j in enumerate(owners)]
            out.append(jnp.stack(own))
            row += len(owners)
        return groups, jnp.where(lead > 0, 1.0, rest) / (1.0 + rest), out

    def values(self, v: Float[Array, "V n"]) -> Float[Array, "F n"]:
        """Return the functions at ``v``, each the logarithm of a posynomial."""
        return jnp.stack([_log_sum(member)[0] for member in self._evaluate(v)[2]])

    def lagrangian(
        self, v: Float[Array, "V n"], multipliers: Float[Array, "F n"]
    ) -> tuple[Float[Array, "F n"], Float[Array, "F V n"], Float[Array, "V V n"]]:
        """Return values, gradients, and the Hessian of the sum of multipliers times values, positive semidefinite."""
        groups, lead, members = self._evaluate(v)
        (q, s), a = self._counts(), self.exponents
        gap = a[:q] - a[q : 2 * q]
        slopes = self._split(a[q : 2 * q] + lead[:, None] * gap, a[2 * q : 2 * q + s])
        shares = [_log_sum(y)[1] for y in groups]
        inner = [(share[:, None] * slope).sum(0) for share, slope in zip(shares, slopes, strict=True)]
        weight = [jnp.zeros_like(v[0]) for _ in inner]
        values, gradients, vectors, factors = [], [], [], []
        row = 2 * q + s
        for i, owners in enumerate(self.members):
            value, share = _log_sum(members[i])
            gradient = jnp.zeros_like(v)
            for m, j in enumerate(owners):
                slope = a[row + m] + (0.0 if j == _PLAIN else inner[j])
                gradient = gradient + share[m] * slope
                factor = multipliers[i] * share[m]
                vectors.append(slope)
                factors.append(factor)
                if j != _PLAIN:
                    weight[j] = weight[j] + factor
            row += len(owners)
            values.append(value)
            gradients.append(gradient)
        hessian = jnp.zeros((v.shape[0], *v.shape))
        for slope, factor in zip(vectors, factors, strict=True):
            hessian = hessian + factor * slope[:, None] * slope[None]
        for gradient, multiplier in zip(gradients, multipliers, strict=True):
            hessian = hessian - multiplier * gradient[:, None] * gradient[None]
        first = 0
        for j, (pairs, _) in enumerate(self.shared):
            hessian = hessian - weight[j] * inner[j][:, None] * inner[j][None]
            scaled = (weight[j] * shares[j])[:, None] * slopes[j]
            for g in range(len(slopes[j])):
                hessian = hessian + scaled[g][:, None] * slopes[j][g][None]
            for g in range(pairs):
                mix = lead[first + g]
                bend = weight[j] * shares[j][g] * self.overlap_exponent * mix * (1.0 - mix)
                hessian = hessian + bend * gap[first + g][:, None] * gap[first + g][None]
            first += pairs
        gradient = jnp.stack(gradients)
        return jnp.stack(values), gradient, hessian


def _log_sum(y: Float[Array, "G n"]) -> tuple[Float[Array, " n"], Float[Array, "G n"]]:
    """Return ln sum exp(y) over the first axis, and each row's share of the sum."""
    if y.shape[0] == 1:
        return y[0], jnp.ones_like(y)
    top = y.max(0)
    share = jnp.exp(y - top)
    whole = share.sum(0)
    return top + jnp.log(whole), share / whole

"""The planning problem as convex programs in logarithms.

Functions are of v = (ln N, ln D, ln B): parameters, training tokens and batch. The first is the
objective, the rest must not exceed zero. They are posynomials that grow with N and D, so they stay
convex when the loss constraint is eliminated through `scaling.Law.log_split`, in which ln N and
ln D are convex.

A fleet has at least one replica, max(1, r) of them for r busy at the peak. Each program is solved
for a fleet (cost of r replicas) and for a lone replica (cost of one, r at most 1): by convexity the
fleet's optimum is the plan if r >= 1 there, and otherwise the lone replica's is.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hw import Scalar, scaled
from scaling import Law
from scaling.bisection import bisect

from ..serving.replica import OVERLAP
from ..training.names import MAX_TRAINING_TOKENS
from .posynomial import Functions, Posynomials
from .problem import Problem

COST = -2  # among the functions of `loss_functions`
CAPS = slice(1, 5)  # memory, TPOT, TTFT and the engine's sequences among the functions
DEMAND = 6
_REFERENCE = (1e10, 1e12, 64.0, 1e10, 1e12)  # anywhere: monomials are read off exactly
START = (1.5, 3.5)  # of the split beyond compute-optimal, and of ln B
_COARSE = 12  # halvings that find a start
_OFF = 1e-60  # scales a function out of play
LOG_OFF = math.log(_OFF)


class Role(eqx.Module):
    """What a lane is to solve. Each field is 0 or 1.

    ``free`` lets the split move from where it starts; ``lone`` is the program of a single replica;
    ``flops`` puts 6 N D + 2 N T (Sardana et al. 2024, arXiv:2401.00448, eq. 3) in place of the cost, without limits.
    """

    free: Scalar
    lone: Scalar
    flops: Scalar


def cost_functions(problem: Problem, role: Role, v: Float[Array, " 3"]) -> Functions:
    """Return [cost, limits...]: the cheapest plan for a quality."""
    N, D, batch = jnp.exp(v)
    model = problem.transformer(N)
    point = problem.serving(model, batch)
    busy = problem.busy_parts(point)
    fleet = jnp.where(role.lone + role.flops > 0, _OFF, problem.lone_replica_cost())
    money = jnp.where(role.flops > 0, 6.0 * N * D, problem.training_cost(model, D))
    inference = role.flops * 2.0 * N * problem.demand.lifetime_tokens
    limit = jnp.where(role.flops > 0, _OFF, 1.0)
    return [
        [*scaled(busy, fleet), money, inference],
        *(scaled(parts, limit) for parts in problem.limit_functions(point)),
        scaled(busy, jnp.where(role.lone > 0, limit, _OFF)),
    ]


def loss_functions(problem: Problem, role: Role, budget: Scalar, v: Float[Array, " 5"]) -> Functions:
    """Return [loss, limits..., cost / budget, tokens / `MAX_TRAINING_TOKENS`]: the best quality for the money.

    v goes on with ln of what N and D are worth, of which the loss is a sum of monomials (`scaling.Law.parts`).
    """
    D = jnp.exp(v[1])
    cost, *limits = cost_functions(problem, role, v[:3])
    lone = jnp.where(role.lone > 0, problem.lone_replica_cost(), 0.0)
    loss = problem.law.parts(*jnp.exp(v[3:]))
    return [list(loss), *limits, scaled([*cost, lone], 1.0 / budget), [D / MAX_TRAINING_TOKENS]]


def posynomials(problem: Problem, functions, count: int = 3) -> Posynomials:
    """Return ``functions`` of v as data for the solver."""
    at = jnp.log(jnp.array(_REFERENCE[:count]))
    return Posynomials.of(functions, OVERLAP, at)


def interior_start(
    program: Posynomials, lift: "QualityLift", room: Float[Array, " n"], reach: Float[Array, " n"]
) -> Float[Array, "2 n"]:
    """Return x = (a, ln B) strictly inside the caps, however little room they leave.

    ``reach`` is the a of the smallest model considered and ``room`` the largest cap there at a batch of
    one, negative where there is a plan. The start keeps half of that room in model size, and half of what
    is left in batch. Newton steps on the barrier do not care how small the region is, once inside.
    """

    def tightest(a, log_B):
        return jnp.max(program.values(lift(jnp.stack([a, log_B])))[CAPS], axis=0)

    none = jnp.zeros_like(reach)
    back = bisect(lambda t: tightest(reach - t, none) > 0.5 * room, none, reach, _COARSE)
    a = reach - back
    left = tightest(a, none)
    log_B = bisect(lambda b: tightest(a, b) > 0.5 * left, none, none + START[1], _COARSE)
    return jnp.stack([a, log_B])


class QualityLift(eqx.Module):
    """v of x = (a, b): the split is ``split + free * a`` on the curve of ``target_loss``, ln B is ``served * b``.

    Every field has one entry per lane.
    """

    law: Law
    target_loss: Scalar
    split: Scalar
    free: Scalar
    served: Scalar

    def __call__(self, x: Float[Array, "2 n"]) -> Float[Array, "3 n"]:
        """Return (ln N, ln D, ln B)."""
        log_N, log_D = self.law.log_split(self.split + self.free * x[0], self.target_loss)
        return jnp.stack([log_N, log_D, self.served * x[1]])

    def slopes(self, x: Float[Array, "2 n"]) -> tuple[Float[Array, "3 2 n"], Float[Array, "3 2 2 n"]]:
        """Return first and second derivatives of v."""

        def curve(u):
            return self.law.log_split(u, self.target_loss)

        def slopes(u):
            return jax.jvp(curve, (u,), (jnp.ones_like(u),))[1]

        u = self.split + self.free * x[0]
        zero = jnp.zeros_like(u)
        first, bends = jax.jvp(slopes, (u,), (jnp.ones_like(u),))
        slope = jnp.stack([jnp.stack([self.free * f, zero]) for f in first] + [jnp.stack([zero, self.served])])
        flat = jnp.stack([zero, zero])
        bend = [jnp.stack([jnp.stack([self.free**2 * b, zero]), flat]) for b in bends]
        return slope, jnp.stack([*bend, jnp.stack([flat, flat])])


class WorthLift(eqx.Module):
    """v of x, which is ln of what N and D are worth and ln B: ln N, ln D, ln B, and those of worth again."""

    law: Law

    def __call__(self, x: Float[Array, "3 n"]) -> Float[Array, "5 n"]:
        """Return v."""
        log_N, log_D = self.law.counts(x[0], x[1])
        return jnp.stack([log_N, log_D, x[2], x[0], x[1]])

    def slopes(self, x: Float[Array, "3 n"]) -> tuple[Float[Array, "5 3 n"], Float[Array, "5 3 3 n"]]:
        """Return first and second derivatives of v: ln N is a function of the first x alone, ln D of the second."""
        one, zero = jnp.ones_like(x[0]), jnp.zeros_like(x[0])

        def bare(size, tokens):
            return self.law.counts(size, tokens)

        def slopes(size, tokens):
            return jax.jvp(bare, (size, tokens), (one, one))[1]

        (by_size, by_tokens), (bend_size, bend_tokens) = jax.jvp(slopes, (x[0], x[1]), (one, one))
        rows = [(by_size, zero, zero), (zero, by_tokens, zero), (zero, zero, one), (one, zero, zero), (zero, one, zero)]
        slope = jnp.stack([jnp.stack(row) for row in rows])
        bend = jnp.zeros((5, 3, *x.shape))
        return slope, bend.at[0, 0, 0].set(bend_size).at[1, 1, 1].set(bend_tokens)

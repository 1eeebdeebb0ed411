"""A primal-dual interior-point method for small convex programs, as an optax transformation.

Minimise f_0(x) subject to f_i(x) <= 0 for x of a handful of variables: Mehrotra's predictor and
corrector on the slack form (Nocedal and Wright 2006, sections 14.2 and 19.3). The multipliers come
with the solution: they are the shadow prices of the limits. n programs are solved side by side, one
per lane of the last axis; each pass of the loop costs one evaluation, which either accepts the
trial point and aims anew or halves the step. No host callbacks, no dynamic shapes.
"""

from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from .posynomial import Posynomials

_GAP = 1e-12  # stop below this duality gap; the objective is a logarithm, so it is a relative error
_RESIDUAL = 1e-12  # and below this norm of the Lagrangian's gradient and of the limits' residual
_CENTRING = 0.1  # the least share of the gap to keep while the point is still far from feasible or stationary
_PASSES = 200  # 20 are typical; a sliver of room between two limits takes 100
_ROUNDING = 1e-9  # from a residual below this, a step that does not gain a digit meets rounding errors
_SHORTEST = 1e-9  # no step this small is worth taking


class Lift(Protocol):
    """The map from the solver's variables x to v, the logarithms the posynomials speak of; each entry convex."""

    def __call__(self, x: Float[Array, "k n"]) -> Float[Array, "V n"]:
        """Return v."""
        ...

    def slopes(self, x: Float[Array, "k n"]) -> tuple[Float[Array, "V k n"], Float[Array, "V k k n"]]:
        """Return the first and second derivatives of v."""
        ...


class Point(NamedTuple):
    """Variables, slacks of the limits, and their multipliers; the last two positive."""

    x: Float[Array, "k n"]
    slack: Float[Array, "m n"]
    multipliers: Float[Array, "m n"]


class InteriorState(NamedTuple):
    """Where the step began and what holds there, where it leads, how much of it is tried, what it has to beat."""

    base: Point
    values: Float[Array, "1+m n"]
    gap: Float[Array, " n"]
    gradient_norm: Float[Array, " n"]
    direction: Point
    size: Float[Array, " n"]
    merit: Float[Array, " n"]
    target: Float[Array, " n"]
    done: Bool[Array, " n"]


class Solution(eqx.Module):
    """A stationary point of the Lagrangian with its certificate, in n lanes.

    ``gap`` bounds how far the objective is above the optimum of a convex program; ``gradient_norm``
    is the Euclidean norm of the Lagrangian's gradient; ``values`` is [f_0, f_1, ..., f_m] there.
    """

    x: Float[Array, "k n"]
    multipliers: Float[Array, "m n"]
    values: Float[Array, "1+m n"]
    gap: Float[Array, " n"]
    gradient_norm: Float[Array, " n"]
    passes: Float[Array, " n"]


def solve_positive_definite(matrix: Float[Array, "k k n"], rhs: Float[Array, "k n"]) -> Float[Array, "k n"]:
    """Solve tiny positive definite systems by an unrolled, scaled LDL' factorisation; k is at most 4 here."""
    k = rhs.shape[0]
    scale = [jnp.sqrt(jnp.maximum(matrix[j, j], 1e-300)) for j in range(k)]
    lower: dict[tuple[int, int], Array] = {}
    pivots: list[Array] = []
    for j in range(k):
        taken = [lower[j, i] ** 2 * pivots[i] for i in range(j)]
        pivots.append(jnp.maximum(1.0 - sum(taken), 1e-15))
        for r in range(j + 1, k):
            dot = sum(lower[r, i] * lower[j, i] * pivots[i] for i in range(j))
            lower[r, j] = (matrix[r, j] / (scale[r] * scale[j]) - dot) / pivots[j]
    y: list[Array] = []
    for j in range(k):
        y.append(rhs[j] / scale[j] - sum(lower[j, i] * y[i] for i in range(j)))
    z = [y[j] / pivots[j] for j in range(k)]
    for j in reversed(range(k)):
        z[j] = z[j] - sum(lower[i, j] * z[i] for i in range(j + 1, k))
    return jnp.stack([z[j] / scale[j] for j in range(k)])


def _longest(values: Array, changes: Array) -> Array:
    """Return the longest step in [0, 1] that keeps ``values`` not negative."""
    reach = jnp.where(changes < 0, -values / jnp.where(changes < 0, changes, -1.0), jnp.inf)
    return jnp.minimum(1.0, jnp.min(reach, axis=0))


def _moved(point: Point, direction: Point, size: Array) -> Point:
    return Point(*(p + size * d for p, d in zip(point, direction, strict=True)))


def interior_point(program: Posynomials, lift: Lift) -> optax.GradientTransformation:
    """Return the transformation whose updates lead `Point` to a solution.

    The gradients given to ``update`` are ignored: values, gradients and the Lagrangian's Hessian
    are taken together at the point it is given.
    """

    def init(params: Any) -> InteriorState:
        zero = jax.tree.map(jnp.zeros_like, params)
        lanes = params.x[0]
        endless = jnp.full_like(lanes, jnp.inf)
        values = jnp.zeros((1 + params.slack.shape[0], lanes.shape[0]))
        return InteriorState(
            params, values, endless, endless, zero, jnp.ones_like(lanes), endless, jnp.zeros_like(lanes),
            jnp.zeros_like(lanes, bool),
        )  # fmt: skip

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, InteriorState]:
        del updates
        x, slack, multipliers = params
        slope, bend = lift.slopes(x)
        weights = jnp.concatenate([jnp.ones_like(x[:1]), multipliers])
        values, gradients, curvature = program.lagrangian(lift(x), weights)
        normals = (gradients[:, :, None] * slope[None]).sum(1)
        dual = (weights[:, None] * normals).sum(0)
        # A limit that holds is its own slack: without this, a plan free to drift never settles its limits.
        slack = jnp.where(-values[1:] > 0.5 * slack, -values[1:], slack)
        point = Point(x, slack, multipliers)
        primal = values[1:] + slack
        central = slack * multipliers
        gap = central.sum(0)
        off = (dual**2).sum(0) + (primal**2).sum(0)
        merit = off + ((central - state.target) ** 2).sum(0)
        accept = (merit <= (1.0 - 1e-4 * state.size) * state.merit) & jnp.isfinite(merit)

        pull = (weights[:, None] * gradients).sum(0)
        half = (curvature[:, :, None] * slope[None]).sum(1)
        hessian = (slope[:, :, None] * half[:, None]).sum(0) + (pull[:, None, None] * bend).sum(0)
        normals = normals[1:]
        stiffness = multipliers / slack
        matrix = hessian + ((stiffness[:, None] * normals)[:, :, None] * normals[:, None]).sum(0)

        def towards(target):
            """Return Newton's direction to slack * multipliers = target."""
            push = (multipliers * primal + target - central) / slack
            dx = solve_positive_definite(matrix, -dual - (push[:, None] * normals).sum(0))
            along = (normals * dx).sum(1)
            return Point(dx, -primal - along, push + stiffness * along)

        straight = towards(jnp.zeros_like(central))
        least = jnp.minimum(_longest(slack, straight.slack), _longest(multipliers, straight.multipliers))
        ahead = _moved(point, straight, least)
        mean = gap / slack.shape[0]
        shrink = ((ahead.slack * ahead.multipliers).sum(0) / gap) ** 3
        target = mean * jnp.maximum(shrink, _CENTRING * jnp.minimum(jnp.sqrt(off) / mean, 1.0))
        direction = towards(target)
        size = jnp.minimum(_longest(slack, direction.slack), _longest(multipliers, direction.multipliers))
        size = size * jnp.maximum(0.995, 1.0 - gap)
        beat = off + ((central - target) ** 2).sum(0)

        found = (gap < _GAP) & (off < _RESIDUAL**2)
        here = (point, values, gap, jnp.sqrt((dual**2).sum(0)), direction)
        base, values, gap, norm, direction = jax.tree.map(
            lambda new, old: jnp.where(accept, new, old),
            here,
            (state.base, state.values, state.gap, state.gradient_norm, state.direction),
        )
        size = jnp.where(accept, size, 0.5 * state.size)
        stuck = (state.merit < _ROUNDING**2) & (merit > 0.01 * state.merit)
        done = state.done | (accept & found) | stuck | (size < _SHORTEST)
        new = InteriorState(
            base,
            values,
            gap,
            norm,
            direction,
            size,
            jnp.where(accept, beat, state.merit),
            jnp.where(accept, target, state.target),
            done,
        )
        trial = _moved(base, direction, jnp.where(done, 0.0, size))
        return jax.tree.map(jnp.subtract, trial, params), new

    return optax.GradientTransformation(init, update)


def minimise(program: Posynomials, lift: Lift, start: Float[Array, "k n"], active: Bool[Array, " n"]) -> Solution:
    """Minimise function 0 of ``program`` with all others at most zero, from any ``start``, in the ``active`` lanes."""
    method = interior_point(program, lift)
    room = -program.values(lift(start))[1:]
    slack = jnp.where(room > 0, room, 1.0)
    first = Point(start, slack, 0.3 / slack)

    def unfinished(carry: Any) -> Bool[Array, ""]:
        _, state, passes = carry
        return ~jnp.all(state.done) & (passes < _PASSES)

    def step(carry: Any) -> Any:
        point, state, passes = carry
        updates: Any
        updates, state = method.update(point, state, point)
        return optax.apply_updates(point, updates), state, passes + 1

    begin: Any = method.init(first)
    begin = begin._replace(done=~active)
    _, state, passes = jax.lax.while_loop(unfinished, step, (first, begin, jnp.zeros(())))
    return Solution(
        state.base.x, state.base.multipliers, state.values, state.gap, state.gradient_norm, passes + 0.0 * state.gap
    )

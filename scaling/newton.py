"""Many small minimisations at once: a damped Newton method that keeps a few busy and starts the next as one ends.

For objectives whose gradient is continuous and whose Hessian jumps (Huber's loss): the steps are those of the
semismooth Newton method (Qi and Sun 1993), damped as by Levenberg and Marquardt with the damping set by how far the
decrease is from the predicted one (Nielsen 1999, IMM-REP-1999-05). A step may rise for a while, as long as it ends
below a running mean of the values before it: along curved valleys that takes a tenth of the steps (Zhang and Hager
2004, SIAM Journal on Optimization 14, 1043).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_MOST_PASSES = 600  # of one problem; 10 are typical near a solution, 30 from afar, 200 along a curved valley
_FIRST_DAMPING, _LEAST_DAMPING, _HOPELESS = 1e-3, 1e-12, 1e12
_MEMORY = 0.85  # of the running mean, from 0 for none to 1 for the mean of all
_LONGEST = 3.0  # step in any variable
_FAR = 400.0  # a variable beyond this has left for good
_ROUNDING = 1e-13  # relative: objectives closer than this are told apart by their gradients
_STILL = 1e-17  # a gradient below this is rounding


class Local(NamedTuple):
    """An objective about n points: ``value``, the ``scale`` of the sums it comes from, ``gradient`` and ``hessian``."""

    value: Float[Array, " n"]
    scale: Float[Array, " n"]
    gradient: Float[Array, "p n"]
    hessian: Float[Array, "p p n"]


Oracle = Callable[[Float[Array, "p n"], Float[Array, "r n"]], Local]


class Minimum(NamedTuple):
    """Where m minimisations ended, the Euclidean norm of the gradient there, the Hessian, and the evaluations taken.

    Of variables that may not move the Hessian is that of half their square.
    """

    theta: Float[Array, "p m"]
    value: Float[Array, " m"]
    gradient_norm: Float[Array, " m"]
    hessian: Float[Array, "p p m"]
    passes: Float[Array, " m"]


def minimise(
    oracle: Oracle, weights: Float[Array, "r m"], starts: Float[Array, "p m"], free: Float[Array, "p m"],
    tolerance: Float[Array, ""] | float, busy: int,
) -> Minimum:  # fmt: skip
    """Minimise m objectives, each of its own ``weights``, ``busy`` of them at a time, from ``starts``.

    ``free`` is 1 for variables that may move. A problem ends where the gradient's norm falls below ``tolerance`` times
    the scale of its sums, where no step helps, or where a variable leaves for good.
    """
    m, p = weights.shape[1], starts.shape[0]
    busy = min(busy, m)
    # One more problem than there are: what idle slots work on.
    weights, starts, free = (jnp.concatenate([a, a[:, :1]], axis=1) for a in (weights, starts, free))
    eye = jnp.eye(p)[:, :, None]

    def going(s: dict[str, Any]) -> Array:
        return jnp.any(s["problem"] < m)

    def step(s: dict[str, Any]) -> dict[str, Any]:
        problem = s["problem"]
        mask = free[:, problem]
        new = oracle(s["trial"], weights[:, problem])
        gradient = new.gradient * mask
        hessian = new.hessian * mask[:, None] * mask[None] + eye * (1.0 - mask)[None]
        norm = jnp.sqrt((gradient**2).sum(0))
        same = jnp.abs(new.value - s["value"]) <= _ROUNDING * jnp.abs(s["value"])
        fresh = s["fresh"] > 0
        better = fresh | (new.value < s["level"]) & ~same | same & (norm < s["norm"])
        gained = jnp.clip((s["level"] - new.value) / s["predicted"], 0.0, 1.0)
        shrink = jnp.where(same, 0.1, jnp.maximum(0.1, 1.0 - (2.0 * gained - 1.0) ** 3))
        damping = jnp.where(better, shrink, s["raise"]) * s["damping"]
        damping = jnp.where(fresh, _FIRST_DAMPING, jnp.maximum(damping, _LEAST_DAMPING))
        steeper = jnp.where(better, 2.0, jnp.minimum(2.0 * s["raise"], 64.0))
        count = jnp.where(fresh, 1.0, jnp.where(better, _MEMORY * s["count"] + 1.0, s["count"]))
        level = jnp.where(better, s["level"] + (new.value - s["level"]) / count, s["level"])
        level = jnp.where(fresh, new.value, level)
        here = {"theta": s["trial"], "value": new.value, "norm": norm, "scale": new.scale}
        here |= {"gradient": gradient, "hessian": hessian}
        here = {name: jnp.where(better, value, s[name]) for name, value in here.items()}

        passes = s["passes"] + 1.0
        ended = here["norm"] <= jnp.maximum(tolerance * here["scale"], _STILL)
        ended = ended | (passes >= _MOST_PASSES) | (damping > _HOPELESS)
        ended = ended | (jnp.abs(here["theta"]).max(0) > _FAR) | ~jnp.isfinite(here["value"])
        diagonal = jnp.stack([here["hessian"][i, i] for i in range(p)])
        # Between kinks an objective may be straight: then what it sums, not its curvature, says how far to go.
        least = 1e-3 * (jnp.abs(diagonal).max(0) + here["scale"]) + 1e-30
        size = jnp.maximum(jnp.abs(diagonal), least)
        raised = here["hessian"] + eye * (damping * size + 2.0 * jnp.maximum(-diagonal, 0.0))[None]
        move = descent(raised, -here["gradient"])
        move = move * jnp.minimum(1.0, _LONGEST / jnp.maximum(jnp.abs(move).max(0), 1e-300))
        bend = (move[:, None] * move[None] * here["hessian"]).sum((0, 1))
        predicted = jnp.maximum(-(here["gradient"] * move).sum(0) - 0.5 * bend, 1e-300)

        # Problems that ended are written down, and the next ones take their slots.
        slot = jnp.where(ended, problem, m)
        told = {"theta": here["theta"], "value": here["value"], "norm": here["norm"], "passes": passes}
        told |= {"hessian": here["hessian"]}
        out = {name: s["out"][name].at[..., slot].set(value) for name, value in told.items()}
        following = jnp.minimum(s["next"] + jnp.cumsum(ended) - 1, m)
        problem = jnp.where(ended, following, problem)
        trial = jnp.where(ended, starts[:, problem], here["theta"] + move)
        return here | {
            "trial": trial,
            "predicted": predicted,
            "damping": damping,
            "raise": steeper,
            "level": level,
            "count": count,
            "fresh": ended.astype(float),
            "passes": jnp.where(ended, 0.0, passes),
            "problem": problem,
            "next": jnp.minimum(s["next"] + ended.sum(), m),
            "out": out,
        }

    zero = jnp.zeros(busy)
    many = jnp.zeros((p, busy))
    first = jnp.arange(busy)
    state = {
        "theta": many, "trial": starts[:, first], "value": zero, "norm": zero, "scale": zero, "gradient": many,
        "hessian": jnp.zeros((p, p, busy)), "predicted": zero + 1.0, "damping": zero + _FIRST_DAMPING,
        "raise": zero + 2.0, "level": zero, "count": zero + 1.0,
        "fresh": zero + 1.0, "passes": zero, "problem": first, "next": jnp.asarray(busy),
        "out": {
            "theta": jnp.zeros((p, m + 1)), "value": jnp.zeros(m + 1), "norm": jnp.zeros(m + 1),
            "hessian": jnp.zeros((p, p, m + 1)), "passes": jnp.zeros(m + 1),
        },
    }  # fmt: skip
    out = jax.lax.while_loop(going, step, state)["out"]
    return Minimum(*(out[name][..., :m] for name in ("theta", "value", "norm", "hessian", "passes")))


def descent(matrix: Float[Array, "p p n"], rhs: Float[Array, "p n"]) -> Float[Array, "p n"]:
    """Solve n small symmetric systems by an unrolled LDL' whose pivots are made positive: a descent direction always
    (Gill and Murray 1974)."""
    p = rhs.shape[0]
    scale = [jnp.sqrt(jnp.maximum(matrix[j, j], 1e-300)) for j in range(p)]
    lower: dict[tuple[int, int], Array] = {}
    pivots: list[Array] = []
    for j in range(p):
        pivot = 1.0 - sum((lower[j, i] ** 2 * pivots[i] for i in range(j)), jnp.zeros_like(rhs[0]))
        pivots.append(jnp.maximum(jnp.abs(pivot), 1e-11))
        for r in range(j + 1, p):
            dot = sum((lower[r, i] * lower[j, i] * pivots[i] for i in range(j)), jnp.zeros_like(rhs[0]))
            lower[r, j] = (matrix[r, j] / (scale[r] * scale[j]) - dot) / pivots[j]
    y: list[Array] = []
    for j in range(p):
        y.append(rhs[j] / scale[j] - sum((lower[j, i] * y[i] for i in range(j)), jnp.zeros_like(rhs[0])))
    z = [y[j] / pivots[j] for j in range(p)]
    for j in reversed(range(p)):
        z[j] = z[j] - sum((lower[i, j] * z[i] for i in range(j + 1, p)), jnp.zeros_like(rhs[0]))
    return jnp.stack([z[j] / scale[j] for j in range(p)])

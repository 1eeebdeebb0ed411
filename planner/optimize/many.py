"""Many scenarios solved in one compiled call, each on a choice of its own: what sweeps and studies run on."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .answer import last_split, settled
from .interior_point import minimise
from .problem import Problem
from .programs import CAPS, DEMAND, LOG_OFF, START, QualityLift, Role, cost_functions, interior_start, posynomials

_BLOCK = 128  # lanes solved side by side: their working set stays in the processor's cache


def solve_many(given: Mapping[str, Any], choices: Mapping[str, Any], residuals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the optimum of n questions; every number of ``given``, ``choices``, ``residuals`` has a leading axis n.

    The program is the condensed one of `planner.condensed` with these ``residuals``. Each question gets ``objective``,
    ``log_N``, ``log_D``, ``log_B`` (ln of the optimum, with at least one replica)
    and ``ok``. n is padded to whole blocks inside; lanes out of reach are not ok.
    """
    n = choices["n_chips"].shape[0]
    blocks = -(-n // _BLOCK)
    index = jnp.minimum(jnp.arange(blocks * _BLOCK), n - 1)
    padded = jax.tree.map(lambda a: a[index].reshape(blocks, _BLOCK, *a.shape[1:]), (given, choices, residuals))
    out = jax.lax.map(_block, padded)
    return jax.tree.map(lambda a: a.reshape(-1)[:n], out)


def _block(questions: tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]) -> dict[str, Any]:
    n = questions[1]["n_chips"].shape[0]

    def lane(question, lone):
        problem = Problem.of(*question)
        role = Role(free=1.0, lone=lone, flops=0.0)
        program = posynomials(problem, lambda v: cost_functions(problem, role, v))
        split = problem.law.compute_optimal_split(problem.target_loss) + START[0]
        one = jnp.ones(())
        reach = jnp.maximum(last_split(problem) - split, 0.0)
        lift = QualityLift(problem.law, problem.target_loss, split, one, one)
        return program, lift, reach, problem.lone_replica_cost()

    def run(lone, active):
        program, lift, reach, alone = jax.vmap(lambda q: lane(q, lone), out_axes=-1)(questions)
        room = jnp.max(program.values(lift(jnp.stack([reach, jnp.zeros(n)])))[CAPS], axis=0)
        start = interior_start(program, lift, room, reach)
        return minimise(program, lift, start, (room < 0) & active), lift, alone

    fleet, lift, alone = run(0.0, jnp.ones(n, bool))
    busy = fleet.values[DEMAND] - LOG_OFF
    ok = settled(fleet)
    lone, _, _ = run(1.0, ok & (busy < 0))
    use = ok & (busy < 0) & settled(lone)
    v = lift(jnp.where(use, lone.x, fleet.x))
    unused = alone * jnp.maximum(1.0 - jnp.exp(busy), 0.0)
    objective = jnp.where(use, jnp.exp(lone.values[0]) + alone, jnp.exp(fleet.values[0]) + unused)
    return {"objective": objective, "log_N": v[0], "log_D": v[1], "log_B": v[2], "ok": ok}


def solve_on_every_device(
    given: Mapping[str, Any], choices: Mapping[str, Any], residuals: Mapping[str, Any]
) -> dict[str, Any]:
    """Return `solve_many` with its questions spread evenly over all devices; n must divide by their number.

    A CPU counts as one device unless ``jax_num_cpu_devices`` was set before jax started.
    """
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("questions",))
    spread = jax.sharding.PartitionSpec("questions")
    spreading = jax.shard_map(solve_many, mesh=mesh, in_specs=spread, out_specs=spread, check_vma=False)
    return spreading(given, choices, residuals)

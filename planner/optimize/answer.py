"""From numbers to a plan, in one traced function: solve every choice, rank, describe, differentiate.

Inputs and outputs are plain nested dicts of arrays, so that the compiled program can be kept on
disk and run again without importing what traced it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .describe import buildable, busy_replicas, describe, log_limits, sufficient_batch
from .interior_point import Solution, minimise
from .problem import Problem
from .programs import CAPS, DEMAND, DirectLift, QualityLift, Role, cost_functions, loss_functions, posynomials

MAX_TRAINING_TOKENS = 1e18  # the most lenient model tried is the one that needs this many: a bound, not a claim
MIN_PARAMS = 1e6
CONVERGED = {"gradient": 1e-7, "gap": 1e-9, "violation": 1e-8}
_LOG_OFF = -60.0 * 2.302585092994046  # ln of the factor that takes a function out of play
_START = (1.5, 3.5)  # of the split beyond compute-optimal, and of ln B
CASES = ("plan", "baseline", "buildable", "appraised")


def _at_loss(problem: Problem, split: Array) -> tuple[Array, Array]:
    log_N, log_D = problem.law.log_split(split, problem.target_loss)
    return jnp.asarray(log_N), jnp.asarray(log_D)


def _settled(solution: Solution) -> Array:
    violation = jnp.max(solution.values[1:], axis=0)
    return (
        (solution.gradient_norm < CONVERGED["gradient"])
        & (jnp.abs(solution.gap) < CONVERGED["gap"])
        & (violation < CONVERGED["violation"])
    )


def _last_split(problem: Problem) -> Array:
    """Return the split of the smallest model considered, and of no plan if the loss is out of reach."""
    return jnp.maximum(problem.law.split_of_tokens(MAX_TRAINING_TOKENS, problem.target_loss), -700.0)


def _third(tree: Any, part: int, n: int) -> Any:
    return jax.tree.map(lambda a: a[..., part * n : (part + 1) * n], tree)


def _lanes(given: Mapping[str, Any], choices: Mapping[str, Any], question: Mapping[str, Any]):
    """Solve each choice as a fleet, as a lone replica, and for compute-optimal training; 3 n lanes."""
    n = choices["n_chips"].shape[0]
    free = question["free"]

    def lane(choice, part):
        problem = Problem.of(given, choice)
        role = Role(
            free=jnp.where(part < 2, free, 0.0), lone=jnp.where(part == 1, 1.0, 0.0), flops=given["by_flops"]
        )
        program = posynomials(problem, lambda v: cost_functions(problem, role, v))
        optimal = problem.law.compute_optimal_split()
        held = jnp.where(part < 2, question["split"], optimal)
        split = jnp.where(role.free > 0, optimal + _START[0], held)
        lenient = jnp.where(role.free > 0, _last_split(problem), held)
        lift = QualityLift(problem.law, problem.target_loss, split, role.free)
        return program, lift, _at_loss(problem, lenient)[0]

    parts = jnp.repeat(jnp.arange(3.0), n)
    tiled = jax.tree.map(lambda a: jnp.tile(a, 3), choices)
    program, lift, lenient = jax.vmap(lane, out_axes=-1)(tiled, parts)
    start = jnp.stack([jnp.zeros(3 * n), jnp.full(3 * n, _START[1])])
    solution = minimise(program, lift, start)
    zero = jnp.zeros_like(lenient)
    caps = program.values(jnp.stack([lenient, zero, zero]))[CAPS]
    return program, lift(solution.x), solution, caps


def answer(given: Mapping[str, Any], choices: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cheapest plan over n choices, its baseline, ranking, certificate and gradients.

    ``given`` is the scenario, ``choices`` stacks n discrete choices, ``question`` says which are real
    (``valid``) and whether to optimise the split (``free``) or hold it (``split``); with ``appraise``
    a plan of ``log_N``, ``log_D`` and ``log_B`` on choice ``lane`` is described instead and differentiated.
    """
    n = choices["n_chips"].shape[0]
    program, v, solution, caps = _lanes(given, choices, question)
    valid = question["valid"] > 0
    lone_cost = jax.vmap(lambda c: Problem.of(given, c).lone_replica_cost())(choices)

    def cost(part):
        """Return a group's costs with at least one replica, ln of busy replicas, and which lanes hold."""
        here = _third(solution, part, n)
        busy = here.values[DEMAND] - _LOG_OFF
        floor = jnp.where(given["by_flops"] > 0, 0.0, lone_cost) * (jnp.maximum(1.0, jnp.exp(busy)) - jnp.exp(busy))
        ok = _settled(here) & valid & (jnp.max(_third(caps, part, n), axis=0) < 0)
        return jnp.exp(here.values[0]) + floor, busy, ok

    fleet_cost, busy, fleet_ok = cost(0)
    lone = _third(solution, 1, n)
    lone_ok = _settled(lone) & valid & (busy < 0) & (question["free"] > 0) & (given["by_flops"] == 0)
    objective = jnp.where(lone_ok, jnp.exp(lone.values[0]) + lone_cost, fleet_cost)
    ranked = jnp.where(fleet_ok, objective, jnp.inf)
    best = jnp.argmin(ranked)
    base_cost, _, base_ok = cost(2)
    base_ranked = jnp.where(base_ok, base_cost, jnp.inf)
    base_best = jnp.argmin(base_ranked)

    # The plan's lane among 3 n; multipliers of ln(total) where the lone program speaks of training alone.
    as_lone = lone_ok[best]
    lane = best + jnp.where(as_lone, n, 0)
    share = jnp.where(as_lone, jnp.exp(lone.values[0, best]) / objective[best], 1.0)
    multipliers = solution.multipliers[:, lane] * share
    appraise = question["appraise"] > 0
    where = jnp.stack([best, base_best, best, jnp.round(question["lane"]).astype(best.dtype)])
    points = jnp.stack(
        [v[:, lane], v[:, 2 * n + base_best], v[:, lane], jnp.stack([question[k] for k in ("log_N", "log_D", "log_B")])]
    )
    picked = jax.tree.map(lambda a: a[where], choices)

    def case(choice, point, index):
        problem = Problem.of(given, choice)
        smooth = problem.shape.transformer(jnp.exp(point[0]))
        shape, tokens, whole = buildable(problem, jnp.exp(point[0]))
        built = index == 2
        model = jax.tree.map(lambda a, b: jnp.where(built, a, b), shape.transformer(), smooth)
        batch = jnp.where(index == 3, jnp.exp(point[2]), sufficient_batch(problem, smooth, jnp.exp(point[2])))
        told = describe(
            problem, model, jnp.where(built, tokens, jnp.exp(point[1])), jnp.where(built, whole, batch)
        )
        return told | {"ffn": shape.ffn, "heads": shape.heads, "kv_heads": shape.kv_heads}

    cases = jax.vmap(case)(picked, points, jnp.arange(4))

    def lagrangian(given, choice):
        problem = Problem.of(given, choice)
        split = _split_at(solution, lane, question, problem)
        log_N, log_D = _at_loss(problem, split)
        N = jnp.where(appraise, jnp.exp(question["log_N"]), jnp.exp(log_N))
        derived = problem.law.tokens_for_loss(N, problem.target_loss)
        told_D = jnp.where(question["derive_tokens"] > 0, derived, jnp.exp(question["log_D"]))
        D = jnp.where(appraise, told_D, jnp.exp(log_D))
        batch = jnp.where(appraise, jnp.exp(question["log_B"]), jnp.exp(v[2, lane]))
        model = problem.shape.transformer(N)
        busy = busy_replicas(problem, model, batch)
        money = problem.training_cost(model, D) + problem.lone_replica_cost() * jnp.maximum(1.0, busy)
        flops = 6.0 * N * D + 2.0 * N * problem.demand.lifetime_tokens
        value = jnp.log(jnp.where(given["by_flops"] > 0, flops, money))
        binding = multipliers[:4] @ log_limits(problem, model, batch) + multipliers[4] * jnp.log(busy)
        return value + jnp.where(appraise | (given["by_flops"] > 0), 0.0, binding), value

    chosen = jax.tree.map(lambda a: a[jnp.where(appraise, where[3], best)], choices)
    (gradients, value) = jax.grad(lagrangian, argnums=(0, 1), has_aux=True)(given, chosen)
    best_values = solution.values[:, lane]
    return {
        "best": best,
        "found": fleet_ok[best],
        "objective": objective,
        "ok": fleet_ok,
        "baseline_best": base_best,
        "baseline_found": base_ok[base_best],
        "baseline_objective": base_cost[base_best],
        "log_N": v[0, :n],
        "caps": caps[:, :n],
        "baseline_caps": caps[:, 2 * n :],
        "cases": cases,
        "lone": as_lone,
        "gradients": gradients,
        "log_objective": value,
        "multipliers": multipliers,
        "gradient_norm": solution.gradient_norm[lane],
        "gap": solution.gap[lane],
        "violation": jnp.maximum(jnp.max(best_values[1:]), 0.0),
        "least_exponent": jnp.min(program.exponents[:, :2, lane]),
        "split": _split_at(solution, lane, question, Problem.of(given, chosen)),
        "passes": solution.passes[0],
        "target_loss": Problem.of(given, chosen).target_loss,
    }


def _split_at(solution: Solution, lane: Array, question: Mapping[str, Any], problem: Problem) -> Array:
    """Return the plan's split as a number that no input moves."""
    start = jax.lax.stop_gradient(problem.law.compute_optimal_split()) + _START[0]
    return jnp.where(question["free"] > 0, start + solution.x[0, lane], question["split"])


def best_loss(
    given: Mapping[str, Any], choices: Mapping[str, Any], valid: Float[Array, " n"], budget: Float[Array, ""]
) -> dict[str, Any]:
    """Return the least loss that ``budget`` (of the objective's unit) buys on each of n choices.

    ``floor`` is ln(least cost of serving anything / budget) by choice: above zero, nothing is affordable.
    """
    n = choices["n_chips"].shape[0]

    def lane(choice, part):
        problem = Problem.of(given, choice)
        role = Role(free=1.0, lone=jnp.where(part == 1, 1.0, 0.0), flops=0.0)
        program = posynomials(problem, lambda v: loss_functions(problem, role, budget, v))
        small = problem.shape.transformer(MIN_PARAMS)
        affordable = budget / (2.0 * problem.training_cost(small, 1.0))
        return program, jnp.log(problem.lone_replica_cost() / budget), jnp.log(affordable)

    parts = jnp.repeat(jnp.arange(2.0), n)
    tiled = jax.tree.map(lambda a: jnp.tile(a, 2), choices)
    program, lone_share, scale = jax.vmap(lane, out_axes=-1)(tiled, parts)
    log_N = jnp.clip(0.5 * (scale + jnp.log(MIN_PARAMS)) - 1.5, jnp.log(MIN_PARAMS), jnp.log(1e12))
    log_D = scale + jnp.log(MIN_PARAMS) - log_N
    solution = minimise(program, DirectLift(), jnp.stack([log_N, log_D, jnp.full(2 * n, _START[1])]))
    busy = solution.values[DEMAND, :n] - _LOG_OFF
    settled = _settled(solution) & jnp.tile(valid > 0, 2)
    use_lone = settled[n:] & ((busy < 0) | ~settled[:n])
    loss = jnp.exp(jnp.where(use_lone, solution.values[0, n:], solution.values[0, :n]))
    zero = jnp.zeros(2 * n)
    small = program.values(jnp.stack([zero + jnp.log(MIN_PARAMS), zero, zero + _START[1]]))
    caps = program.values(jnp.stack([zero + jnp.log(MIN_PARAMS), zero, zero]))[CAPS, :n]
    return {
        "loss_nats": loss,
        "ok": jnp.where(use_lone, settled[n:], settled[:n] & (busy >= 0)),
        "floor": jnp.maximum(lone_share[:n], small[-1, :n]),
        "caps": caps,
        "passes": solution.passes[0],
    }

"""From numbers to a plan, in traced functions: solve every choice and rank, describe, differentiate.

Inputs and outputs are plain nested dicts of arrays, so that the compiled programs can be kept on
disk and run again without importing what traced them.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar

from ..model.buildable import BuildableShape
from ..serving.residuals import NONE
from ..training.names import MAX_TRAINING_TOKENS
from .describe import busy_replicas, describe, log_limits, useful_batch
from .interior_point import Solution, minimise
from .problem import Problem, law_under, target_loss
from .programs import (
    CAPS,
    COST,
    DEMAND,
    LOG_OFF,
    START,
    QualityLift,
    Role,
    WorthLift,
    cost_functions,
    interior_start,
    loss_functions,
    posynomials,
)

MIN_PARAMS = 1e6
CONVERGED = {"gradient": 1e-7, "gap": 1e-9, "violation": 1e-8}
_INSIDE = 0.7  # ln of what tokens can be worth at most, over where a search for the best loss starts
_JUST = 1e-7  # of a replica: what rounding leaves where one is just busy


def _at_loss(problem: Problem, split: Array) -> tuple[Array, Array]:
    log_N, log_D = problem.law.log_split(split, problem.target_loss)
    return jnp.asarray(log_N), jnp.asarray(log_D)


def settled(solution: Solution) -> Array:
    """Say which lanes ended at a point that is stationary and feasible to the tolerances of `CONVERGED`."""
    violation = jnp.max(solution.values[1:], axis=0)
    return (
        (solution.gradient_norm < CONVERGED["gradient"])
        & (jnp.abs(solution.gap) < CONVERGED["gap"])
        & (violation < CONVERGED["violation"])
    )


def last_split(problem: Problem) -> Array:
    """Return the split of the smallest model considered, and of no plan if the loss is out of reach."""
    return jnp.maximum(problem.law.last_split(MAX_TRAINING_TOKENS, problem.target_loss), -700.0)


def _third(tree: Any, part: int, n: int) -> Any:
    return jax.tree.map(lambda a: a[..., part * n : (part + 1) * n], tree)


def _lanes(given: Mapping[str, Any], choices: Mapping[str, Any], question: Mapping[str, Any]):
    """Solve each choice as a fleet, as a lone replica, and for compute-optimal training; 3 n lanes."""
    n = choices["n_chips"].shape[0]
    free = question["free"]

    def lane(choice, part, residuals):
        problem = Problem.of(given, choice, residuals, jnp.where(part == 2, 1.0, 0.0))
        role = Role(free=jnp.where(part < 2, free, 0.0), lone=jnp.where(part == 1, 1.0, 0.0), flops=given["by_flops"])
        program = posynomials(problem, lambda v: cost_functions(problem, role, v))
        optimal = problem.law.compute_optimal_split(problem.target_loss)
        held = jnp.where(part < 2, question["split"], optimal)
        split = jnp.where(role.free > 0, optimal + START[0], held)
        lenient = jnp.where(role.free > 0, jnp.maximum(last_split(problem), split), held)
        lift = QualityLift(problem.law, problem.target_loss, split, role.free, 1.0 - role.flops)
        return program, lift, lenient - split

    parts = jnp.repeat(jnp.arange(3.0), n)
    tiled = jax.tree.map(lambda a: jnp.tile(a, 3), choices)
    program, lift, reach = jax.vmap(lane, out_axes=-1)(tiled, parts, question["residuals"])
    caps = program.values(lift(jnp.stack([reach, jnp.zeros_like(reach)])))[CAPS]
    real = jnp.tile(question["valid"] > 0, 3) & ((parts != 1) | ((free > 0) & (jnp.tile(question["lone"], 3) > 0)))
    active = (jnp.max(caps, axis=0) < 0) & real
    start = interior_start(program, lift, jnp.max(caps, axis=0), reach)
    solution = minimise(program, lift, start, active)
    least = lift(jnp.stack([reach, jnp.zeros_like(reach)]))[0]
    return program, lift, solution, caps, active, least


def curve(asked: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return (ln N, ln D) at a ``split`` of the curve of the loss asked for, and its compute-optimal and last splits.

    A split beyond the last one stands for that.
    """
    law, loss = law_under(asked, choice), target_loss(asked)
    last = law.last_split(MAX_TRAINING_TOKENS, loss)
    log_N, log_D = law.log_split(jnp.minimum(asked["split"], jnp.maximum(last, -700.0)), loss)
    return {"log_N": log_N, "log_D": log_D, "optimal": law.compute_optimal_split(loss), "last": last}


def solve(given: Mapping[str, Any], choices: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cheapest plan over n choices, its baseline, ranking and certificate.

    ``given`` is the scenario, ``choices`` stacks n discrete choices, ``question`` says which are real (``valid``),
    which to try as a ``lone`` replica too, and whether to optimise the split (``free``) or hold it (``split``).
    ``points`` of the plan and of its baseline are (ln N, ln D, ln B); ``caps`` are ln(use / limit) at the most lenient.
    ``residuals`` of the question has an entry per lane: n fleets, n lone replicas, n baselines; so have ``lanes`` of
    the answer, where each ended (ln N and ln B), ``lanes_ok``, and ``least_log_N``, the smallest model each could take.
    """
    n = choices["n_chips"].shape[0]
    program, lift, solution, caps, active, least = _lanes(given, choices, question)
    v = lift(solution.x)
    lone_cost = jax.vmap(lambda c: Problem.of(given, c, NONE).lone_replica_cost())(choices)
    lone_cost = jnp.where(given["by_flops"] > 0, 0.0, lone_cost)

    def group(part):
        """Return a group's costs with at least one replica, ln of busy replicas, and which lanes hold."""
        here = _third(solution, part, n)
        busy = here.values[DEMAND] - LOG_OFF
        unused = lone_cost * jnp.maximum(1.0 - jnp.exp(busy), 0.0)
        return jnp.exp(here.values[0]) + unused, busy, settled(here)

    fleet_cost, busy, ok = group(0)
    lone = _third(solution, 1, n)
    use_lone = settled(lone) & (busy < 0) & ok
    objective = jnp.where(use_lone, jnp.exp(lone.values[0]) + lone_cost, fleet_cost)
    best = jnp.argmin(jnp.where(ok, objective, jnp.inf))
    base_cost, _, base_ok = group(2)
    base_best = jnp.argmin(jnp.where(base_ok, base_cost, jnp.inf))

    lane = best + jnp.where(use_lone[best], n, 0)
    # The lone program speaks of ln(training cost): its multipliers weigh by training's share of the total.
    share = jnp.where(use_lone[best], jnp.exp(lone.values[0, best]) / objective[best], 1.0)
    return {
        "best": best,
        "lane": lane,
        "own_lanes": jnp.arange(n) + jnp.where(use_lone, n, 0),
        "busy": busy,
        "baseline_lane": 2 * n + base_best,
        "lanes": {"log_N": v[0], "log_B": v[2]},
        "lanes_ok": settled(solution) & active,
        "least_log_N": least,
        "found": ok[best],
        "target_loss": Problem.of(given, jax.tree.map(lambda a: a[0], choices), NONE).target_loss,
        "objective": objective,
        "ok": ok,
        "split": jnp.asarray(lift.split)[lane] + jnp.asarray(lift.free)[lane] * solution.x[0, lane],
        "points": jnp.stack([v[:, lane], v[:, 2 * n + base_best]]),
        "log_N": jnp.where(use_lone, v[0, n : 2 * n], v[0, :n]),
        "caps": caps[:, :n],
        "baseline_best": base_best,
        "baseline_found": base_ok[base_best],
        "multipliers": solution.multipliers[:, lane] * share,
        "gradient_norm": solution.gradient_norm[lane],
        "gap": solution.gap[lane],
        "violation": jnp.maximum(jnp.max(solution.values[1:, lane]), 0.0),
        "least_exponent": jnp.min(program.exponents[:, :2, lane]),
        "log_objective": jnp.log(objective[best]),
        "unsettled": ((active[:n] & ~ok) | (ok & (busy < 0) & active[n : 2 * n] & ~settled(lone))).sum(),
        "passes": solution.passes[0],
    }


def tell(given: Mapping[str, Any], choices: Mapping[str, Any], cases: Mapping[str, Any]) -> dict[str, Any]:
    """Describe m complete plans, one per row of ``choices``, in `describe`'s terms.

    ``cases`` has m of each: ``log_N``, ``log_D``, ``log_B``, and 0 or 1 for ``baseline``, ``derive_tokens`` (D that
    reaches the target loss), ``derive_batch`` (the best batch), and ``build`` (round to a buildable
    shape and a whole batch, which derives both).
    """

    def one(choice, case):
        problem = Problem.of(given, choice, case["residuals"], case["baseline"])
        N, build = jnp.exp(case["log_N"]), case["build"] > 0
        shape = BuildableShape.nearest(problem.shape, N)
        smooth = problem.shape.transformer(N)
        model = jax.tree.map(lambda a, b: jnp.where(build, a, b), shape.transformer(), smooth)
        reaching = problem.law.tokens_for_loss(model.params, problem.target_loss)
        useful = useful_batch(problem, model)
        best = jnp.where(build, jnp.floor(useful * (1.0 + 1e-12)), useful)
        D = jnp.where(build | (case["derive_tokens"] > 0), reaching, jnp.exp(case["log_D"]))
        batch = jnp.where(build | (case["derive_batch"] > 0), best, jnp.exp(case["log_B"]))
        told = describe(problem, model, D, batch)
        return told | {
            "ffn": shape.ffn,
            "heads": shape.heads,
            "kv_heads": shape.kv_heads,
            "useful_batch": useful,
            "target_loss": jnp.asarray(problem.target_loss),
            "params_floor": problem.law.params_floor(problem.target_loss),
            "tokens_for_target": reaching,
            "params_for_target": problem.law.params_for_loss(D, problem.target_loss),
            "tokens_at_twice_floor": problem.law.tokens_for_loss(
                2.0 * problem.law.params_floor(problem.target_loss), problem.target_loss
            ),
        }

    return jax.vmap(one)(choices, cases)


def differentiate(given: Mapping[str, Any], choice: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return d ln(objective) / d(input) for every number of ``given`` and ``choice``, by the envelope theorem.

    The plan stays put: ``split`` on the curve of the target loss and ``log_B``, or with ``appraise`` the
    parameters ``log_N`` with tokens ``log_D`` or (``derive_tokens``) those that reach the loss. The limits
    that bind enter through ``multipliers``, in the order of `LIMITS` and then the lone replica's demand. Slopes in the
    ``residuals`` of the plan come along: they carry what inputs do to the calibrated kernels.
    """
    leaves, tree = jax.tree.flatten((given, choice, plan["residuals"]))

    def value(theta):
        given, choice, residuals = jax.tree.unflatten(tree, [theta[i] for i in range(len(leaves))])
        problem = Problem.of(given, choice, residuals)
        appraise = plan["appraise"] > 0
        log_N, log_D = _at_loss(problem, plan["split"])
        N = jnp.exp(jnp.where(appraise, plan["log_N"], log_N))
        reaching = problem.law.tokens_for_loss(N, problem.target_loss)
        told = jnp.where(plan["derive_tokens"] > 0, reaching, jnp.exp(plan["log_D"]))
        D = jnp.where(appraise, told, jnp.exp(log_D))
        batch = jnp.exp(plan["log_B"])
        model = problem.shape.transformer(N)
        point = problem.serving(model, batch)
        busy = busy_replicas(problem, point)
        # A lone replica at its least batch is just busy: its cost does not move with demand, but through multipliers.
        replicas = jnp.where(busy > 1.0 + _JUST, busy, 1.0)
        money = problem.training_cost(model, D) + problem.lone_replica_cost() * replicas
        flops = 6.0 * N * D + 2.0 * N * problem.demand.lifetime_tokens
        binding = plan["multipliers"][:-1] @ log_limits(problem, point)
        binding = binding + plan["multipliers"][-1] * jnp.log(busy)
        plain = appraise | (given["by_flops"] > 0)
        log_objective = jnp.log(jnp.where(given["by_flops"] > 0, flops, money))
        return log_objective + jnp.where(plain, 0.0, binding), log_objective

    theta = jnp.stack([jnp.asarray(leaf, float) for leaf in leaves])
    # Forward mode: one vectorised sweep over all inputs compiles in half the time that reverse mode needs.
    slopes, log_objective = jax.jacfwd(value, has_aux=True)(theta)
    given_slopes, choice_slopes, left = jax.tree.unflatten(tree, list(slopes))
    return {"given": given_slopes, "choice": choice_slopes, "residuals": left, "log_objective": log_objective}


def _halving(problem: Problem, budget: Scalar) -> tuple[Array, Array]:
    """Return ln of parameters and tokens whose training takes half of ``budget``: where the search starts."""
    smallest = problem.shape.transformer(MIN_PARAMS)
    scale = jnp.log(budget / (2.0 * problem.training_cost(smallest, 1.0)))
    log_N = jnp.clip(0.5 * (scale + jnp.log(MIN_PARAMS)) - 1.5, jnp.log(MIN_PARAMS), jnp.log(1e12))
    left = jnp.log(budget / (2.0 * problem.training_cost(problem.shape.transformer(jnp.exp(log_N)), 1.0)))
    return log_N, left / problem.training_form.tokens_exponent


def best_loss(given: Mapping[str, Any], choices: Mapping[str, Any], question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the least loss that the ``budget`` of the question (in the objective's unit) buys on each of n choices.

    ``residuals`` of the question has an entry per lane, n fleets and n lone replicas, as ``lanes`` of the answer.
    ``floor`` is ln(least cost of serving anything / budget) by choice: above zero, nothing is affordable.
    """
    n = choices["n_chips"].shape[0]
    valid, budget = question["valid"], question["budget"]

    def lane(choice, part, residuals):
        problem = Problem.of(given, choice, residuals)
        role = Role(free=1.0, lone=jnp.where(part == 1, 1.0, 0.0), flops=0.0)
        program = posynomials(problem, lambda v: loss_functions(problem, role, budget, v), 5)
        lone = jnp.log(problem.lone_replica_cost() / budget)
        most = problem.law.log_most_worth()
        start = [jnp.minimum(at, edge - _INSIDE) for at, edge in zip(_halving(problem, budget), most, strict=True)]
        return program, WorthLift(problem.law), lone, *start

    parts = jnp.repeat(jnp.arange(2.0), n)
    tiled = jax.tree.map(lambda a: jnp.tile(a, 2), choices)
    program, lift, lone_share, log_N, log_D = jax.vmap(lane, out_axes=-1)(tiled, parts, question["residuals"])
    zero = jnp.zeros(2 * n)
    small = program.values(lift(jnp.stack([zero + jnp.log(MIN_PARAMS), zero, zero + START[1]])))
    caps = program.values(lift(jnp.stack([zero + jnp.log(MIN_PARAMS), zero, zero])))[CAPS]
    floor = jnp.maximum(lone_share, small[COST])
    tried = jnp.concatenate([valid > 0, (valid > 0) & (question["lone"] > 0)])
    active = (jnp.max(caps, axis=0) < 0) & (floor < 0) & tried
    start = jnp.stack([log_N, log_D, jnp.full(2 * n, START[1])])
    solution = minimise(program, lift, start, active)
    v = lift(solution.x)
    busy = solution.values[DEMAND, :n] - LOG_OFF
    holds = settled(solution) & active
    use_lone = holds[n:] & ((busy < 0) | ~holds[:n])
    told = jnp.exp(jnp.where(use_lone, solution.values[0, n:], solution.values[0, :n]))
    loss = jax.vmap(lambda law, total: law.loss_of_parts(total), in_axes=-1)(_third(lift.law, 0, n), told)
    ok = jnp.where(use_lone, holds[n:], holds[:n] & ((busy >= 0) | (question["lone"] == 0)))
    best = jnp.argmin(jnp.where(ok, loss, jnp.inf))
    return {
        "loss_nats": loss,
        "lane": best + jnp.where(use_lone[best], n, 0),
        "ok": ok,
        "busy": busy,
        "floor": floor[:n],
        "lanes": {"log_N": v[0], "log_D": v[1], "log_B": v[2]},
        "lanes_ok": holds,
        "least_log_N": zero + jnp.log(MIN_PARAMS),
        "unsettled": (active[:n] & ~holds[:n] & ~holds[n:]).sum(),
        "caps": caps[:, :n],
        "passes": solution.passes[0],
    }

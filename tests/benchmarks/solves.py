"""Plans per second, many scenarios in one compiled call, beside cvxpy and SLSQP on the same problems.

    python tests/benchmarks/solves.py [scenarios]

The programs are condensed ones, all with the same residuals. cvxpy solves those of tests/oracle_gp.py; SLSQP
gets the planner's own objective and limits as compiled functions with exact gradients. All three run in this
process on the same scenarios; ratios are per solve.
"""
# ruff: noqa: E402 (jax is told how many devices to make before anything else imports it)

import sys
import time
from dataclasses import replace
from pathlib import Path

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)

import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

import oracle_gp
from training_form import FORM, TRAINING

from planner.choices import enumerate_choices
from planner.optimize.describe import busy_replicas, log_limits
from planner.optimize.many import solve_many, solve_on_every_device
from planner.optimize.problem import Problem
from planner.optimize.programs import START
from planner.scenario import Scenario
from planner.trees import gathered

OTHERS = 40  # scenarios given to the slower solvers
RESIDUALS = {  # of about the size that kernels take beyond their rooflines
    "step": {"log": -5.5, "params_exponent": 0.7, "batch_exponent": 0.4},
    "prefill": {"log": -4.7, "params_exponent": 0.9, "batch_exponent": -0.1},
    "first": {"log": -4.2, "params_exponent": 1.0, "batch_exponent": 0.3},
}


def questions(n: int):
    """Return n seeded random scenarios, each on a random choice, as stacked numbers and as settings."""
    rng = np.random.default_rng(20260822)
    base = {"lifetime_tokens": 1e15, "workload": "chat", "law": "epoch-2024"}
    choices = [c for c in enumerate_choices(Scenario.of(base)) if c.n_chips <= 8]
    picked = rng.integers(0, len(choices), n)
    settings = [
        {
            **base,
            "lifetime_tokens": 10 ** rng.uniform(12, 17),
            "quality_like": 10 ** rng.uniform(9.5, 11.5),
            "tpot_ms": 10 ** rng.uniform(1.3, 2.5),
            "ttft_ms": 10 ** rng.uniform(2.5, 4),
        }
        for _ in range(n)
    ]
    given = gathered(
        [Scenario({**Scenario.of(base).settings, **s}).numbers() | {"training": TRAINING} for s in settings[:1]]
    )
    given = jax.tree.map(lambda a: np.repeat(a, n), given)
    for name, scale in (("lifetime_tokens", 1.0), ("quality_like", 1.0)):
        given[name] = scale * np.array([s[name] for s in settings])
    for name in ("tpot", "ttft"):
        given[f"{name}_s"] = np.array([s[f"{name}_ms"] for s in settings]) / 1e3
    return given, gathered([choices[i].numbers() for i in picked]), settings, [choices[i] for i in picked]


def best(run, repeats: int = 5) -> float:
    """Return the shortest of several wall times."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - begin)
    return min(times)


def slsqp(given, choice):
    """Return (ln cost, seconds) by SLSQP in (split, ln B) with the planner's functions and exact gradients."""

    def functions(x, given, choice):
        problem = Problem.of(given, choice, RESIDUALS)
        log_N, log_D = problem.law.log_split(x[0], problem.target_loss)
        model = problem.shape.transformer(jnp.exp(log_N))
        point = problem.serving(model, jnp.exp(x[1]))
        fleet = problem.lone_replica_cost() * jnp.maximum(1.0, busy_replicas(problem, point))
        cost = problem.training_cost(model, jnp.exp(log_D)) + fleet
        return jnp.append(jnp.log(cost), log_limits(problem, point))

    if not hasattr(slsqp, "compiled"):
        slsqp.compiled = jax.jit(lambda *a: (functions(*a), jax.jacfwd(functions)(*a)))
        jax.block_until_ready(slsqp.compiled(jnp.zeros(2), given, choice))
    last: dict = {}

    def at(x):
        if not np.array_equal(last.get("x"), x):
            last.update(x=x.copy(), f=[np.asarray(a) for a in slsqp.compiled(x, given, choice)])
        return last["f"]

    begin = time.perf_counter()
    found = minimize(
        lambda x: at(x)[0][0], np.array(START), jac=lambda x: at(x)[1][0], method="SLSQP",
        constraints={"type": "ineq", "fun": lambda x: -at(x)[0][1:], "jac": lambda x: -at(x)[1][1:]},
        options={"ftol": 1e-12, "maxiter": 200},
    )  # fmt: skip
    return found.fun if found.success else np.inf, time.perf_counter() - begin


def main() -> None:
    """Time all three and print rates, ratios and how they agree."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 20480
    given, choice, settings, picked = questions(n)
    left = jax.tree.map(lambda a: np.full(n, a), RESIDUALS)
    rates = {}
    for name, function in (("one core", solve_many), ("every core", solve_on_every_device)):
        compiled = jax.jit(function).lower(given, choice, left).compile()
        found = jax.tree.map(np.asarray, compiled(given, choice, left))
        rates[name] = n / best(lambda run=compiled: run(given, choice, left))
        print(f"planner, {name:11}{rates[name]:12,.0f} solves/s   ({found['ok'].mean():.1%} of {n} feasible)")
    mine = max(rates.values())

    sample = [i for i in range(n) if found["ok"][i]][:OTHERS]
    rows = {"SLSQP": [], "cvxpy": []}
    for i in sample:
        row = jax.tree.map(lambda a, i=i: a[i], (given, choice))
        rows["SLSQP"].append(slsqp(*row))
        full = Scenario.of(settings[i]).settings | Scenario.of(settings[i]).requests()
        other = next(
            c for c in oracle_gp.choices({**full, "chips": [picked[i].chip.id]})
            if (c.n, c.stages, c.precision) == (picked[i].n_chips, picked[i].stages, picked[i].precision)
        )  # fmt: skip
        begin = time.perf_counter()
        plan = oracle_gp.solve(replace(oracle_gp.Ask.of(full), training=FORM), other, RESIDUALS, lone=False)
        rows["cvxpy"].append((np.log(plan.usd) if plan else np.inf, time.perf_counter() - begin))
    for name, results in rows.items():
        costs, times = (np.array(column) for column in zip(*results, strict=True))
        off = costs - np.log(found["objective"][sample])
        ended, lost = off[np.isfinite(off)], int(np.sum(~np.isfinite(off)))
        median = float(np.median(times))
        worst = ended[np.argmax(np.abs(ended))]
        print(
            f"{name:20}{1 / median:12,.1f} solves/s   x {mine * median:,.0f} per solve; ln(cost) against the "
            f"planner's: median {np.median(ended):+.1e}, worst {worst:+.1e}, gave up on {lost} of {len(off)}"
        )


if __name__ == "__main__":
    main()

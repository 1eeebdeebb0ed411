"""Residuals that make the search's form equal the calibrated kernels where a plan lies, in value and in slope."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hw import Scalar

from ..serving.curve import instance_of_model
from ..serving.replica import OVERLAP
from ..serving.residuals import NONE, REFERENCE, TIMES, WINDOW
from ..serving.steady import Lengths, blend
from .problem import Problem

# Where passes are timed round a plan, as logarithms of the ratios of size and batch to the plan's, and of experts where
# it has them: a plane through all these points gives value and slopes. The points are spread evenly over `WINDOW`
# (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences": R2, and R3), each with its mirror image.
_PAIRS = 12
_PLASTIC = {2: 1.32471795724474602596, 3: 1.22074408460575947536}


def _spread(axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points, and the rows of weights that make value and slopes of what is found at them."""
    half = np.outer(np.arange(1, _PAIRS + 1), _PLASTIC[axes] ** -np.arange(1.0, axes + 1.0)) % 1.0
    points = np.concatenate([half * 2.0 - 1.0, 1.0 - half * 2.0]) * WINDOW[:axes]
    return points, np.linalg.pinv(np.column_stack([np.ones(len(points)), points]))


_SPREAD = {axes: _spread(axes) for axes in _PLASTIC}
_FALLING = {"step": 0.0, "prefill": -1.0, "first": 0.0}  # least exponents of the batch: prompts share launches
_LEAST = 0.02  # of the time: what a residual is at least, where roofline and overheads already take all of it


def residuals(
    given: Mapping[str, Any], choices: Mapping[str, Any], machines: Mapping[str, Any], points: Mapping[str, Any]
) -> dict[str, Any]:
    """Return residuals by time, and what takes the decode step, of n choices at n ``points`` (log_N, log_B).

    Every number has n entries, those of ``given`` (the scenario) too. ``machines`` holds, by choice, the ``device``,
    ``layout``, ``engine`` and ``hbm_bytes`` of `planner.serving.curve.instance_of_model`. Values and slopes are those
    of planes through the points round each: ``calibrated_s``, and ``bare_s`` in the search's form without residuals.
    ``step_parts`` are seconds by `planner.serving.engine.Engine.parts`.
    """

    def one(given, choice, machine, log_N, log_B):
        problem = Problem.of(given, choice, NONE)
        logs = [log_N, log_B, jnp.log(choice["experts"])][: 3 if "experts" in machine else 2]
        around, weights = _SPREAD[len(logs)]
        points = [jnp.exp(log + jnp.asarray(of)) for log, of in zip(logs, around.T, strict=True)]
        sharp, parts = calibrated(problem, machine, *points)
        plain = search_form(problem, *points)
        out, whole_s, base_s = {}, {}, {}
        for name in TIMES:
            value, by_size, by_batch, *by_experts = jnp.asarray(weights) @ jnp.log(sharp[name])
            base, base_size, base_batch, *base_experts = jnp.asarray(weights) @ jnp.log(plain[name])
            whole, part = jnp.exp(value), jnp.exp(base)
            left = jnp.maximum(whole - part, _LEAST * whole)
            # Slopes of a difference; not negative in size, for the program to stay convex, and in batch such that no
            # limit loosens with it: where a choice has any plan it then has one at a batch of one.
            size = jnp.clip((whole * by_size - part * base_size) / left, 0.0, 2.0)
            sequences = jnp.clip((whole * by_batch - part * base_batch) / left, _FALLING[name], 2.0)
            log = jnp.log(left) - size * (log_N - jnp.log(REFERENCE[0])) - sequences * (log_B - jnp.log(REFERENCE[1]))
            # Experts are no variable of the program: their slope may have any sign.
            experts = [(whole * a - part * b) / left for a, b in zip(by_experts, base_experts, strict=True)]
            slope = sum(experts, jnp.zeros(()))
            log = log - slope * jnp.log(choice["experts"])
            out[name] = {
                "log": log, "params_exponent": size, "batch_exponent": sequences, "experts_exponent": slope,
            }  # fmt: skip
            whole_s[name], base_s[name] = whole, part
        means = {name: jnp.mean(seconds * jnp.ones_like(points[0])) for name, seconds in parts.items()}
        share = whole_s["step"] / sum(means.values(), jnp.zeros(()))  # the plane's value over the mean
        parts = {name: share * mean for name, mean in means.items()}
        return {"residuals": out, "calibrated_s": whole_s, "bare_s": base_s, "step_parts": parts}

    return jax.vmap(one)(given, choices, machines, points["log_N"], points["log_B"])


def calibrated(
    problem: Problem, machine: Mapping[str, Any], params: Float[Array, " k"], batch: Float[Array, " k"],
    experts: Float[Array, " k"] | None = None,
) -> tuple[dict[str, Array], dict[str, Array]]:  # fmt: skip
    """Return the seconds of `TIMES` by the calibrated kernels and the engine's profile, and a step's parts; a dense
    model's where no ``experts`` are told."""
    sparse = experts is not None
    model = problem.shape.transformer(params, experts if experts is not None else 1.0).decoder(sparse)
    requests = problem.demand.requests
    instance = instance_of_model(model, machine)
    cached = requests.input_tokens - requests.new_input_tokens()
    state = blend(instance, Lengths(requests.input_tokens, cached, requests.output_tokens), batch)
    step = state.plain_s(instance.engine)
    parts = {name: jnp.asarray(both)[0] for name, both in instance.engine.parts(state.tally).items()}
    return {
        "step": step,
        # What a prompt keeps from others: each stage works on it for its part of the time, the others meanwhile too.
        "prefill": state.prefill_s(instance.engine) / instance.layout.pp,
        "first": state.ttft_s(instance.engine) - step,
    }, parts


def search_form(problem: Problem, *points: Float[Array, " k"]) -> dict[str, Scalar]:
    """Return the seconds of `TIMES` in the search's form at sizes and batches, and numbers of experts where told;
    without residuals where ``problem`` has none."""

    def one(N: Scalar, B: Scalar, *experts: Scalar) -> dict[str, Scalar]:
        point = problem.serving(problem.shape.transformer(N, *experts), B)
        return {name: getattr(point, name).seconds(OVERLAP) for name in TIMES}

    return jax.vmap(one)(*points)

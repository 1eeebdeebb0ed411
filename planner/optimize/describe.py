"""Everything a report says of one complete plan, as a flat dict of numbers in SI units."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hw import Scalar
from scaling.bisection import bisect

from ..economics import Bill, Fleet
from ..model.transformer import Transformer
from ..serving.replica import OperatingPoint
from .problem import LIMITS, Problem

MAX_BATCH = 1e9


def log_limits(problem: Problem, point: OperatingPoint) -> Float[Array, " 5"]:
    """Return ln(use / limit) of each of `LIMITS`: negative inside."""
    return jnp.log(jnp.stack([point.seconds(parts) for parts in problem.limit_functions(point)]))


def busy_replicas(problem: Problem, point: OperatingPoint) -> Scalar:
    """Return how many replicas the peak keeps busy; may be below one."""
    return point.seconds(problem.busy_parts(point))


def useful_batch(problem: Problem, model: Transformer) -> Scalar:
    """Return the largest batch within the limits, or the one at which a single replica meets the peak.

    Costs fall with batch until then. 1 where even a batch of one exceeds a limit.
    """

    def too_large(log_B):
        point = problem.serving(model, jnp.exp(log_B))
        return jnp.any(log_limits(problem, point)[:-1] > 0) | (busy_replicas(problem, point) < 1.0)

    return jnp.exp(bisect(too_large, 0.0, jnp.log(MAX_BATCH)))


def describe(problem: Problem, model: Transformer, tokens: Scalar, batch: Scalar) -> dict[str, Scalar]:
    """Return the plan's sizes, times, memory, fleet and bills."""
    point = problem.serving(model, batch)
    replica, chip = point.replica, problem.slice.chip
    step = replica.decode_step(batch)
    whole = point.seconds([point.step])
    fleet = Fleet.for_demand(problem.demand, point)
    training = problem.training(model, tokens)
    layers, tables, _, kv = replica.memory_fill(batch)
    weights = layers + tables
    # The textbook reads the weights of every expert that some sequence of the batch uses.
    touched = step.linear.memory_s * model.touched_params(batch) / model.params
    hard = jnp.maximum(step.linear.compute_s, touched) + step.attention.hard_seconds()
    out = {
        "params": model.params,
        "total_params": model.total_params(),
        "layers": model.layers,
        "d_model": model.d_model,
        "tokens": tokens,
        "loss_nats": problem.law.loss(model.params, tokens),
        "batch": batch,
        "tpot_s": point.seconds(point.tpot_parts()),
        "ttft_s": point.seconds(point.ttft_parts()),
        "step_s": whole,
        "hard_step_s": hard + step.overhead_s(),
        "step_linear_compute_s": step.linear.compute_s,
        "step_linear_memory_s": touched,
        "step_attention_compute_s": step.attention.compute_s,
        "step_attention_memory_s": step.attention.memory_s,
        "weight_bytes": weights * chip.hbm_bytes * problem.slice.n_chips,
        "kv_bytes": kv * problem.engine.kv_fraction * chip.hbm_bytes * problem.slice.n_chips,
        "hbm_bytes": chip.hbm_bytes * problem.slice.n_chips,
        "busy_replicas": fleet.prefill_replicas + fleet.decode_replicas,
        "replicas": fleet.replicas,
        "training_chip_s": training.chip_seconds(),
        "serving_chip_s": fleet.chip_seconds,
        "training_flops": training.flops(),
        "inference_flops": 2.0 * model.params * problem.demand.lifetime_tokens,
    }
    for unit, *rates in (
        ("usd", problem.usd_per_s, problem.training_usd_per_s),
        ("joules", chip.power_w, problem.training_power_w),
    ):
        bill = Bill.of(training, fleet, *rates)
        out |= {
            f"training_{unit}": bill.training,
            f"prefill_{unit}": bill.prefill,
            f"decode_{unit}": bill.decode,
            f"idle_{unit}": bill.idle,
            f"total_{unit}": bill.total(),
        }
    limits = log_limits(problem, point)
    return out | {f"log_{name}_use": limits[i] for i, name in enumerate(LIMITS)}

"""The planning problem of one discrete choice, built from plain nested dicts of numbers.

The dicts are the boundary of everything compiled: their dotted paths are the names of the inputs
in elasticities, and no module class has to exist before they are read.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from hw import Chip, Part, Scalar, Slice, scaled
from scaling import Conditions, Law, law_of

from ..economics import Demand, Slo
from ..model.transformer import ShapeLaw, Transformer
from ..serving.engine import Engine
from ..serving.replica import OperatingPoint, Precision, Replica, Requests, Residual, Residuals
from ..training.run import TRAINING_PRECISION, TrainingForm, TrainingRun

LIMITS = ("hbm", "tpot", "ttft", "engine", "batch")  # the order of `Problem.limit_functions`


def law_under(given: Mapping[str, Any], choice: Mapping[str, Any]) -> Law:
    """Return the law of a plan on ``choice``: its experts, its precision, and the tokens there are."""
    bits = given["train_bits"], choice["precision"]["weight_bits"]
    conditions = Conditions(choice["experts"], choice["sparsity"], *bits)
    return law_of(given["law"], conditions, given.get("repetition"))


def target_loss(given: Mapping[str, Any]) -> Scalar:
    """Return the loss asked for: a number, or that of a compute-optimal model of so many parameters, which is dense, in
    16 bits and on new tokens throughout."""
    like, plain = given["quality_like"], law_of(given["law"])
    loss_like = plain.loss(like, plain.compute_optimal_tokens(like))
    return jnp.where(given["by_likeness"] > 0, loss_like, given["target_loss"])


class Problem(eqx.Module):
    """Everything given for one chip, replica size and precision, and the quantities a plan is judged by.

    ``rate`` is the price of a chip-second of serving in the objective, ``training_rate`` of training: dollars, or watts
    where joules are asked for.
    """

    law: Law
    target_loss: Scalar
    demand: Demand
    slo: Slo
    shape: ShapeLaw
    slice: Slice
    precision: Precision
    engine: Engine
    residuals: Residuals
    training_form: TrainingForm
    training_usd_per_s: Scalar
    training_power_w: Scalar
    usd_per_s: Scalar
    rate: Scalar
    training_rate: Scalar

    @classmethod
    def of(
        cls, given: Mapping[str, Any], choice: Mapping[str, Any], residuals: Mapping[str, Any], baseline: Scalar = 0.0
    ) -> "Problem":
        """Build from ``given`` (the scenario), ``choice`` (chip, layout, precision) and its ``residuals``.

        ``given["training"]`` has the training run's form round the plan and, where ``baseline`` is 1, round that.
        """
        law = law_under(given, choice)
        requests = Requests(given["input_tokens"], given["output_tokens"], given["cached_fraction"])
        chip_numbers = dict(choice["chip"])
        usd_per_s = chip_numbers.pop("usd_per_s")
        plan, other = given["training"]["plan"], given["training"]["baseline"]
        run = {name: jnp.where(baseline > 0, other[name], plan[name]) for name in plan}
        training_usd_per_s, training_power_w = run.pop("usd_per_s"), run.pop("power_w")
        chip = Chip(**chip_numbers)
        number = choice["precision"]
        peak = sum(number["use"][p] * chip.peak_flops_per_s[p] for p in number["use"])
        joules = given["by_joules"] > 0
        return cls(
            law=law,
            target_loss=target_loss(given),
            demand=Demand(given["lifetime_tokens"], requests, given["lifetime_s"], given["peak_to_mean"]),
            slo=Slo(given["tpot_s"], given["ttft_s"]),
            shape=ShapeLaw(**given["shape"]),
            slice=Slice(chip, choice["n_chips"], choice["stages"]),
            precision=Precision(
                number["weight_bytes"], number["kv_bytes"], peak, chip.peak_flops_per_s[TRAINING_PRECISION]
            ),
            engine=Engine(**choice["engine"]),
            residuals=Residuals(**{k: Residual(**v) for k, v in residuals.items()}),
            training_form=TrainingForm(**run),
            training_usd_per_s=training_usd_per_s,
            training_power_w=training_power_w,
            usd_per_s=usd_per_s,
            rate=jnp.where(joules, chip.power_w, usd_per_s),
            training_rate=jnp.where(joules, training_power_w, training_usd_per_s),
        )

    def serving(self, model: Transformer, batch: Scalar) -> OperatingPoint:
        """Return a replica that serves ``model``, ``batch`` sequences at a time."""
        requests = self.demand.requests
        return Replica(model, self.slice, self.precision, requests, self.engine, self.residuals).at(batch)

    def training(self, model: Transformer, tokens: Scalar) -> TrainingRun:
        """Return the run that trains ``model`` on ``tokens``."""
        return TrainingRun(model, tokens, self.training_form)

    def training_cost(self, model: Transformer, tokens: Scalar) -> Scalar:
        """Return the objective's cost of the training run."""
        return self.training_rate * self.training(model, tokens).chip_seconds()

    def lone_replica_cost(self) -> Scalar:
        """Return the objective's cost of keeping one replica for the whole life."""
        return self.rate * self.slice.n_chips * self.demand.lifetime_s

    def limit_functions(self, point: OperatingPoint) -> list[list[Part]]:
        """Return sums that must not exceed one, in the order of `LIMITS`: use over limit, and 1 / batch."""
        return [
            [*point.replica.memory_fill(point.batch)],
            scaled(point.tpot_parts(), 1.0 / self.slo.tpot_s),
            scaled(point.ttft_parts(), 1.0 / self.slo.ttft_s),
            [point.batch / point.replica.most_sequences()],
            [1.0 / point.batch],
        ]

    def busy_parts(self, point: OperatingPoint) -> list[Part]:
        """Return the replicas that the peak keeps busy, by part (Little's law); their sum may be below one."""
        return scaled(point.request_parts(), self.demand.peak_rate())

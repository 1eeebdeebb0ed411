"""The fleet that meets a demand, and the bill for training and running it."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from ..serving.replica import OperatingPoint
from ..training.run import TrainingRun
from .demand import Demand


class Fleet(eqx.Module):
    """Replicas for the peak, at least one, kept for the whole life; fractional while planning.

    ``prefill_replicas`` and ``decode_replicas`` are what the peak keeps busy with each phase.
    """

    replicas: Scalar
    prefill_replicas: Scalar
    decode_replicas: Scalar
    mean_replicas: Scalar
    chip_seconds: Scalar

    @classmethod
    def for_demand(cls, demand: Demand, point: OperatingPoint) -> "Fleet":
        """Size the fleet by Little's law: peak request rate times replica-seconds per request."""
        prefill = demand.peak_rate() * point.seconds([point.prefill])
        request = demand.peak_rate() * point.seconds(point.request_parts())
        decode = request - prefill
        busy = prefill + decode
        replicas = jnp.maximum(busy, 1.0)
        chip_seconds = replicas * point.replica.slice.n_chips * demand.lifetime_s
        return cls(replicas, prefill, decode, busy / demand.peak_to_mean, chip_seconds)


class Bill(eqx.Module):
    """Training, prefill and decode in one unit (US dollars or joules); the three add up to the total.

    Prefill and decode carry the fleet's idle time in proportion to their work; ``idle`` says how much
    of the two is idle: replicas bought for the peak, and the rest of a lone replica's time.
    """

    training: Scalar
    prefill: Scalar
    decode: Scalar
    idle: Scalar

    @classmethod
    def of(cls, training: TrainingRun, fleet: Fleet, rate: Scalar, training_rate: Scalar) -> "Bill":
        """Return the bill at ``rate`` per chip-second of serving, ``training_rate`` of training (dollars or watts)."""
        serving = fleet.chip_seconds * rate
        share = fleet.prefill_replicas / (fleet.prefill_replicas + fleet.decode_replicas)
        idle = serving * (1.0 - fleet.mean_replicas / fleet.replicas)
        return cls(training.chip_seconds() * training_rate, serving * share, serving * (1.0 - share), idle)

    def total(self) -> Scalar:
        """Return the sum of the parts."""
        return self.training + self.prefill + self.decode

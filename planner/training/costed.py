"""One training run in traced functions: every layout of a grid, one layout in full, and slopes of its cost.

Inputs and outputs are plain nested dicts of arrays, so that the compiled programs can be kept on disk.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from hw import Scalar

from .layout import TrainingLayout
from .states import Activations, State
from .step import StepTally, Trainer, tally


class Costed(eqx.Module):
    """A layout of a run: its step, what each chip holds, and the global batch that it is given."""

    trainer: Trainer
    tally: StepTally
    state: State
    activations: Activations
    sequences: Scalar

    def tokens_per_s_per_chip(self) -> Scalar:
        """Return tokens trained on per second and chip."""
        return self.trainer.tokens_per_s_per_chip(self.tally)

    def used_bytes(self) -> Scalar:
        """Return what a chip holds, without what is reserved."""
        return self.state.total() + self.activations.bytes(self.tally.recomputed_fraction())


def costed(given: Mapping[str, Any], layout: TrainingLayout) -> Costed:
    """Return ``layout`` costed; ``given`` holds the ``trainer`` and ``sequences`` besides what `tally` takes.

    The global batch is the multiple of ``dp * micro_batch`` nearest to ``sequences``, at least one.
    """
    unit = layout.dp * layout.micro_batch
    sequences = jnp.maximum(jnp.round(given["sequences"] / unit), 1.0) * unit
    return Costed(Trainer(**given["trainer"]), *tally(given, layout, sequences), sequences)


def search(given: Mapping[str, Any], shapes: Mapping[str, Any], spreads: Mapping[str, Any]) -> dict[str, Any]:
    """Return speed and memory of every layout of a grid, by entry of ``shapes`` and of ``spreads``.

    ``shapes`` hold tp, cp, ep and micro_batch, which decide what every kernel is given; ``spreads`` pp, vp, sharded,
    zero_bubble and chips, which decide how often. Kernels are so timed once per shape. Data parallelism takes the
    chips that the others leave, a fraction where they do not divide them.
    """

    def one(shape: Mapping[str, Any], spread: Mapping[str, Any]) -> dict[str, Any]:
        rest = {name: spread[name] for name in ("pp", "vp", "sharded", "zero_bubble")}
        dp = spread["chips"] / (shape["tp"] * shape["cp"] * spread["pp"])
        found = costed(given, TrainingLayout(**shape, **rest, dp=dp))
        return {
            "tokens_per_s_per_chip": found.tokens_per_s_per_chip(),
            "used_bytes": found.used_bytes(),
            "sequences": found.sequences,
        }

    return jax.vmap(lambda shape: jax.vmap(lambda spread: one(shape, spread))(spreads))(shapes)


def tell(given: Mapping[str, Any], layouts: Mapping[str, Any]) -> dict[str, Any]:
    """Return n layouts in full: what a step's seconds and a chip's bytes are made of."""

    def one(layout: Mapping[str, Any]) -> dict[str, Any]:
        found = costed(given, TrainingLayout(**layout))
        step_s = found.trainer.step_s_of(found.tally)
        return {
            "step_s": step_s,
            "tokens_per_s_per_chip": found.tokens_per_s_per_chip(),
            "sequences": found.sequences,
            "micro_batches": found.tally.micro_batches,
            "recomputed": found.tally.recomputed_fraction(),
            "layers_per_stage": found.activations.layers,
            "parts": found.trainer.parts(found.tally),
            "kernels": found.trainer.kernels(found.tally),
            "bytes": {
                "weights": found.state.weights,
                "gradients": found.state.gradients,
                "optimiser": found.state.optimiser,
                "activations": found.activations.bytes(found.tally.recomputed_fraction()),
            },
            "used_bytes": found.used_bytes(),
        }

    return jax.vmap(one)(layouts)

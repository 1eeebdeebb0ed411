"""A layout of a training run costed: how long its step takes and what each chip holds."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
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


def costed(given: Mapping[str, Any], layout: TrainingLayout, whole: bool = True) -> Costed:
    """Return ``layout`` costed; ``given`` holds the ``trainer`` and ``sequences`` besides what `tally` takes.

    The global batch is the multiple of ``dp * micro_batch`` nearest to ``sequences``, at least one; or while planning,
    not ``whole``, that many sequences, at least one micro-batch per copy.
    """
    unit = layout.dp * layout.micro_batch
    many = given["sequences"] / unit
    sequences = jnp.maximum(jnp.round(many) if whole else many, 1.0) * unit
    return Costed(Trainer(**given["trainer"]), *tally(given, layout, sequences), sequences)

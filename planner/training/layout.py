"""How a training run is spread over its chips."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from ..serving.layout import Layout


class TrainingLayout(eqx.Module):
    """Tensor (``tp``), pipeline (``pp``), context (``cp``), expert (``ep``) and data (``dp``) parallelism.

    A stage of the pipeline holds 1/pp of the layers, in ``vp`` chunks that alternate with the other stages'
    (interleaved schedule: Narayanan et al. 2021, arXiv:2104.04473, section 2.2). A sequence is cut over ``cp`` chips
    (ring attention), each layer over ``tp`` of them; whole experts are spread over ``ep`` chips, which are copies for
    all else. Each of the dp copies works on ``micro_batch`` sequences at a time. ``sharded`` is 1 where parameters,
    gradients and optimiser states are all cut over the copies and gathered layer by layer (ZeRO stage 3, FSDP), else 0:
    optimiser states alone are cut (stage 1), and gradients too where ``sharded_gradients`` is 1 (stage 2: Rajbhandari
    et al. 2020, arXiv:1910.02054, section 5). ``zero_bubble`` is 1 where gradients of weights wait until a stage would
    idle (Qi et al. 2023, arXiv:2401.10241). Fields may be arrays, one entry per run considered.
    """

    tp: Scalar
    pp: Scalar
    vp: Scalar
    cp: Scalar
    ep: Scalar
    dp: Scalar
    micro_batch: Scalar
    sharded: Scalar
    zero_bubble: Scalar = 0.0
    sharded_gradients: Scalar = 0.0

    def chips(self) -> Scalar:
        """Return the chips of the run."""
        return self.tp * self.pp * self.cp * self.dp

    def copies(self) -> Scalar:
        """Return over how many chips the gradients of a weight that is no expert's are summed."""
        return self.dp * self.cp

    def expert_copies(self) -> Scalar:
        """Return over how many chips the gradients of an expert's weight are summed; tp cuts those that ep does not."""
        return jnp.maximum(self.tp * self.copies() / jnp.maximum(self.ep, self.tp), 1.0)

    def micro_batches(self, sequences: Scalar) -> Scalar:
        """Return how many micro-batches of a global batch of ``sequences`` pass through each stage."""
        return sequences / (self.dp * self.micro_batch)

    def bubble(self, micro_batches: Scalar) -> Scalar:
        """Return the idle share of a step over its busy one (Narayanan et al. 2021, section 2.2): (p - 1) / (v m)."""
        return (self.pp - 1.0) / (self.vp * micro_batches)

    def stage(self) -> Layout:
        """Return a pass of one micro-batch as the serving model takes it: copies that share experts go together."""
        return Layout(self.tp, self.pp, jnp.maximum(self.ep / self.tp, 1.0), self.ep)

"""What a chip holds while it trains: weights, gradients, optimiser states and activations."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from configs.architectures import ExpertsFacts
from hw import Scalar

from ..model.decoder import Decoder
from ..serving.ops import Matmul, Stream, Work
from ..serving.work import ACTIVATION_BYTES
from .layout import TrainingLayout

WEIGHT_BYTES, GRADIENT_BYTES = 2.0, 2.0  # on the wire: bf16
# Of a chip's memory, for the runtime, buffers of collectives and what allocation leaves between blocks: of the runs in
# `planner.runs.trained` that fit, the fullest fills 93 % by this reckoning.
RESERVED_FRACTION = 0.05
# Mixed precision with Adam (Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1): bf16 weights, float32 gradients,
# master weights, momentum and variance.
_WEIGHT, _GRADIENT, _OPTIMISER = 2.0, 4.0, 12.0
UPDATE_BYTES = 34.0  # read: gradient 4, states 12; written: states 12, weight 2; gradients cast and zeroed: 4


class State(eqx.Module):
    """Bytes on a chip of weights, gradients and optimiser states."""

    weights: Scalar
    gradients: Scalar
    optimiser: Scalar

    def total(self) -> Scalar:
        """Return all three."""
        return self.weights + self.gradients + self.optimiser


class Held(eqx.Module):
    """Parameters on one chip before any are cut over copies: experts', and all others'."""

    shared: Scalar
    experts: Scalar

    @classmethod
    def of(cls, model: Decoder, params: Scalar, layout: TrainingLayout) -> "Held":
        """Return a stage's share of ``model``, which has ``params`` parameters in all."""
        experts: Scalar = 0.0
        for layer in model.layers:
            block = layer.feedforward
            if isinstance(block, ExpertsFacts):
                hidden = jnp.where(block.latent_dim > 0, block.latent_dim, model.d_model)
                experts = experts + layer.count * block.experts * block.matrices * hidden * block.width
        shared = params - experts
        return cls(shared / (layout.tp * layout.pp), experts / (jnp.maximum(layout.ep, layout.tp) * layout.pp))

    def updated(self, layout: TrainingLayout) -> Scalar:
        """Return the parameters that each chip updates: copies share them out."""
        return self.shared / layout.copies() + self.experts / layout.expert_copies()

    def states(self, layout: TrainingLayout) -> State:
        """Return what a chip holds of them, cut over copies as the layout says."""
        whole = self.shared + self.experts
        own = self.updated(layout)
        weights = jnp.where(layout.sharded > 0, own, whole)
        gradients = jnp.where((layout.sharded > 0) | (layout.sharded_gradients > 0), own, whole)
        return State(_WEIGHT * weights, _GRADIENT * gradients, _OPTIMISER * own)


class Activations(eqx.Module):
    """Bytes of activations on the busiest chip, the first stage's, while it waits for gradients.

    Of one micro-batch: ``kept`` where nothing is computed again; ``inputs`` of its layers alone where everything is;
    ``layer``, one layer's work, while that is computed again. ``depth`` micro-batches are in flight, of ``layers``
    layers each.
    """

    kept: Scalar
    inputs: Scalar
    layer: Scalar
    depth: Scalar
    layers: Scalar

    @classmethod
    def of(
        cls, model: Decoder, work: Sequence[Work], layout: TrainingLayout, sequence_tokens: Scalar,
        micro_batches: Scalar, reversible: Scalar = 0.0,
    ) -> "Activations":  # fmt: skip
        """Return those of ``work``, one micro-batch forwards.

        Each product keeps what goes in and, unless that only joins the residual, what comes out: 32 bytes per token and
        unit of width for a plain layer, the 34 s b h of Korthikanti et al. 2022 (arXiv:2205.05198, equation 2) without
        dropout. The residual is cut over the tp chips (their sequence parallelism). The first of pp stages keeps pp
        micro-batches, (p - 1) / v more where it has v chunks (Narayanan et al. 2021, section 2.2). ``reversible`` is 1
        where layers' inputs follow from their outputs (Gomez et al. 2017, arXiv:1707.04585), so that none are kept.
        """
        layers = model.layer_count() / layout.pp
        kept = sum((_kept_elements(op, layout) for op in work), jnp.zeros(())) * ACTIVATION_BYTES
        row = layout.micro_batch * sequence_tokens / layout.cp * model.d_model * ACTIVATION_BYTES / layout.tp
        depth = layout.pp + (layout.pp - 1.0) / layout.vp * jnp.where(layout.vp > 1, 1.0, 0.0)
        depth = jnp.minimum(jnp.where(layout.pp > 1, depth, 1.0), jnp.maximum(micro_batches, 1.0))
        inputs = row * jnp.where(reversible > 0, 1.0, layers)
        return cls(kept, inputs, kept / jnp.maximum(layers, 1.0), depth, layers)

    def bytes(self, recomputed: Scalar) -> Scalar:
        """Return all of them where the share ``recomputed`` of the layers is computed again."""
        each = recomputed * self.inputs + (1.0 - recomputed) * self.kept
        return self.depth * each + jnp.where(recomputed > 0, self.layer, 0.0)

    def least_recomputed(self, room_bytes: Scalar) -> Scalar:
        """Return the least share of layers, whole ones, to compute again for activations to fit; 1 if none suffices."""
        over = self.depth * self.kept + self.layer - room_bytes
        share = over / jnp.maximum(self.depth * (self.kept - self.inputs), 1.0)
        whole = jnp.ceil(share * self.layers - 1e-9) / self.layers
        return jnp.where(self.depth * self.kept <= room_bytes, 0.0, jnp.clip(whole, 0.0, 1.0))


_INTO_RESIDUAL = (
    "attention out",
    "feed-forward down",
    "shared experts down",
    "experts down",
    "recurrent out",
    "out of latent",
    "head",
)
_FROM_RESIDUAL = (
    "query, key, value", "feed-forward up", "shared experts up", "latents", "recurrent in", "router", "into latent",
)  # fmt: skip


def _kept_elements(op: Work, layout: TrainingLayout) -> Scalar:
    if isinstance(op, Matmul):
        into = op.k / layout.tp if op.name in _FROM_RESIDUAL else op.k
        out = 0.0 if op.name in _INTO_RESIDUAL else op.n
        return op.count * op.rows * (into + out)
    if isinstance(op, Stream) and op.name == "norms":
        return 2.0 * op.count * op.moved_bytes / ACTIVATION_BYTES / layout.tp  # before the mixer and before the block
    return 0.0

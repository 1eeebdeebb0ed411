"""What a chip holds while it trains: weights, gradients, optimiser states and activations."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from configs.architectures import ExpertsFacts
from hw import Scalar

from ..model.decoder import Decoder
from ..serving.ops import ExpertLayer, Matmul, Stream, Work
from ..serving.work import ACTIVATION_BYTES
from .layout import TrainingLayout

WEIGHT_BYTES, GRADIENT_BYTES = 2.0, 2.0  # on the wire: bf16
# Mixed precision with Adam (Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1): bf16 weights, float32 gradients,
# master weights, momentum and variance.
_WEIGHT, _GRADIENT, _OPTIMISER = 2.0, 4.0, 12.0
UPDATE_BYTES = 34.0  # read: gradient 4, states 12; written: states 12, weight 2; gradients cast and zeroed: 4


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
        return cls(shared / (layout.tp * layout.pp), experts / (layout.ep * layout.pp))

    def updated(self, layout: TrainingLayout) -> Scalar:
        """Return the parameters that each chip updates: copies share them out."""
        return self.shared / layout.copies() + self.experts / layout.expert_copies()

    def state_bytes(self, layout: TrainingLayout) -> Scalar:
        """Return bytes of weights, gradients and optimiser states on a chip."""
        whole = self.shared + self.experts
        copied = jnp.where(layout.sharded > 0, self.updated(layout), whole)
        return (_WEIGHT + _GRADIENT) * copied + _OPTIMISER * self.updated(layout)


def activation_bytes(
    work: Sequence[Work], layers: Scalar, rows_bytes: Scalar, layout: TrainingLayout, micro_batches: Scalar,
    recomputed: Scalar,
) -> Scalar:  # fmt: skip
    """Return bytes of activations on the busiest chip, the first stage's, while it waits for gradients.

    Of ``work``, one micro-batch forwards, each product keeps what goes in and, unless that only joins the residual,
    what comes out: 32 bytes per token and unit of width for a plain layer, the 34 s b h of Korthikanti et al. 2022
    (arXiv:2205.05198, equation 2) without dropout. The residual is cut over the tp chips (their sequence parallelism).
    The first of pp stages keeps pp micro-batches, (p - 1) / v more where it has v chunks (Narayanan et al. 2021,
    section 2.2). Where the forward pass is done again only the input of each of ``layers``, ``rows_bytes`` each, stays,
    and one layer's work at a time.
    """
    kept = sum((_kept_elements(op, layout) for op in work), jnp.zeros(())) * ACTIVATION_BYTES
    inputs = layers * rows_bytes / layout.tp
    whole = jnp.where(recomputed > 0, inputs + kept / jnp.maximum(layers, 1.0), kept)
    depth = layout.pp + (layout.pp - 1.0) / layout.vp * jnp.where(layout.vp > 1, 1.0, 0.0)
    return whole * jnp.minimum(jnp.where(layout.pp > 1, depth, 1.0), jnp.maximum(micro_batches, 1.0))


_INTO_RESIDUAL = ("attention out", "feed-forward down", "shared experts down", "recurrent out", "out of latent", "head")
_FROM_RESIDUAL = (
    "query, key, value", "feed-forward up", "shared experts up", "latents", "recurrent in", "router", "into latent",
)  # fmt: skip


def _kept_elements(op: Work, layout: TrainingLayout) -> Scalar:
    if isinstance(op, Matmul):
        into = op.k / layout.tp if op.name in _FROM_RESIDUAL else op.k
        out = 0.0 if op.name in _INTO_RESIDUAL else op.n
        return op.count * op.rows * (into + out)
    if isinstance(op, ExpertLayer):
        rows = op.tokens * op.block.topk / (op.tp * op.ep)
        return op.count * rows * (op.hidden + op.block.matrices * op.block.width)
    if isinstance(op, Stream) and op.name == "norms":
        return 2.0 * op.count * op.moved_bytes / ACTIVATION_BYTES / layout.tp  # before the mixer and before the block
    return 0.0

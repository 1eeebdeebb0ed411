"""What a chip holds while it trains: weights, gradients, optimiser states and activations."""

import equinox as eqx
import jax.numpy as jnp

from configs.architectures import ExpertsFacts
from hw import Scalar

from ..model.decoder import Decoder
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

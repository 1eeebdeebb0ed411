"""Rounding a planned size to a transformer that can be built."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from .generic import HEAD_DIM, TOPK, VOCABULARY, experts_at, sparsity_of
from .transformer import ShapeLaw, Transformer

FFN_STEP = 256.0  # feed-forward widths of those models are multiples of 256 or finer


class BuildableShape(eqx.Module):
    """Whole-number layers, widths and heads with untied embeddings and a gated feed-forward block.

    With ``experts`` (0 where dense) blocks are cut into as many, `TOPK` to a token, each ``ffn`` / `TOPK` wide.
    ``ffn`` makes up the parameters that attention and embeddings leave, in steps of 256, so the
    total lies within half a step (1.5 x 256 x d_model x layers parameters, under 1 % above 2B) of
    the size asked for, unless that is smaller than the embeddings and attention alone.
    """

    layers: Scalar
    d_model: Scalar
    heads: Scalar
    kv_heads: Scalar
    ffn: Scalar
    experts: Scalar = 0.0

    @classmethod
    def nearest(cls, shape: ShapeLaw, params: Scalar, experts: Scalar = 1.0) -> "BuildableShape":
        """Return the buildable shape closest to ``shape`` at ``params`` active parameters and that many ``experts``,
        total over active parameters of feed-forward blocks."""
        typical = shape.transformer(params)
        layers = jnp.maximum(jnp.round(typical.layers), 1.0)
        kv_heads = jnp.round(shape.kv_heads)
        heads = jnp.maximum(jnp.round(typical.d_model / (HEAD_DIM * kv_heads)), 1.0) * kv_heads
        d_model = heads * HEAD_DIM
        bare = cls(layers, d_model, heads, kv_heads, jnp.zeros_like(layers)).params()
        ffn = (params - bare) / (3.0 * d_model * layers)
        ffn = jnp.maximum(jnp.round(ffn / FFN_STEP), 1.0) * FFN_STEP
        idle = (sparsity_of(experts) - 1.0) * params
        count = TOPK + jnp.round(idle / (3.0 * d_model * layers * ffn / TOPK))
        return cls(layers, d_model, heads, kv_heads, ffn, jnp.where(jnp.asarray(experts) > 1.0, count, 0.0))

    def params(self) -> Scalar:
        """Return the exact count that a token uses: embeddings in and out, attention, gated feed-forward, norms; not
        the router, under 0.5 % of it."""
        attention = 2.0 * self.d_model**2 + 2.0 * self.d_model * self.kv_heads * HEAD_DIM
        per_layer = attention + 3.0 * self.d_model * self.ffn + 2.0 * self.d_model
        return 2.0 * VOCABULARY * self.d_model + self.layers * per_layer + self.d_model

    def transformer(self) -> Transformer:
        """Return the same shape as the planner's models see it."""
        idle = jnp.maximum(self.experts - TOPK, 0.0) * 3.0 * self.d_model * self.layers * self.ffn / TOPK
        experts = experts_at(1.0 + idle / self.params())
        return Transformer(self.params(), self.layers, self.d_model, self.kv_heads * HEAD_DIM, self.kv_heads, experts)

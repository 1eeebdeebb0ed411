"""The shape of a transformer, dense or with experts: what a pass over it computes, weighs and caches."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from .decoder import Decoder
from .generic import HEAD_DIM, TOPK, VOCABULARY, sparsity_of

_NARROWEST = 0.1  # feed-forward width over model width where embeddings and attention alone exceed the parameters


class Transformer(eqx.Module):
    """A decoder with grouped-query attention; sizes may be fractional while planning.

    ``params`` counts the parameters that a token uses. Attention is ``d_model`` wide, its keys and values ``kv_width``
    = kv_heads x head_dim wide each. Feed-forward blocks hold ``experts`` times what a token uses of them, 1 where
    dense, in fine-grained experts: 8 of 8 x experts, each an eighth as wide as the block that a token meets.
    """

    params: Scalar
    layers: Scalar
    d_model: Scalar
    kv_width: Scalar
    kv_heads: Scalar
    experts: Scalar = 1.0

    def total_params(self) -> Scalar:
        """Return all parameters, those of idle experts too."""
        return self.params * sparsity_of(self.experts)

    def touched_params(self, tokens: Scalar) -> Scalar:
        """Return the parameters that any of ``tokens`` uses, each token its experts at random."""
        touched = self.experts * (1.0 - (1.0 - 1.0 / self.experts) ** tokens)
        return self.params * sparsity_of(touched)

    def linear_flops(self, tokens: Scalar) -> Scalar:
        """Return FLOPs of all matrix products with weights: 2 N per token (Kaplan et al. 2020, section 2.1)."""
        return 2.0 * self.params * tokens

    def attention_flops(self, tokens: Scalar, context_tokens: Scalar) -> Scalar:
        """Return FLOPs of the scores and the weighted sum: 2 d_model each per layer, query and key."""
        return 4.0 * self.layers * self.d_model * tokens * context_tokens

    def embedding_params(self) -> Scalar:
        """Return the parameters of the two embeddings."""
        return 2.0 * VOCABULARY * self.d_model

    def decoder(self, sparse: bool = False) -> Decoder:
        """Return the same sizes as the serving model takes them: feed-forward blocks are what is left of ``params``.

        ``sparse`` makes them experts, as many as come to `total_params`: a little more or fewer than 8 x ``experts``,
        since what is left at a size (60 % at 3B, 73 % at 10B, 80 % at 100B) is not just `FFN_SHARE`.
        """
        head_dim = self.kv_width / self.kv_heads
        attention = 2.0 * self.d_model**2 + 2.0 * self.d_model * self.kv_width
        rest = (self.params - self.embedding_params()) / self.layers - attention
        width = jnp.maximum(rest / (3.0 * self.d_model), _NARROWEST * self.d_model)
        heads = {"heads": self.d_model / HEAD_DIM, "kv_heads": self.kv_heads}
        mixer = {**heads, "key_dim": head_dim, "value_dim": head_dim}
        block = {"dense": {"width": width, "matrices": 3.0}}
        if sparse:
            idle = jnp.maximum(self.total_params() - self.params, 0.0) / (self.layers * 3.0 * self.d_model)
            one = width / TOPK
            block = {"experts": {"experts": TOPK + idle / one, "topk": TOPK, "width": one}}
        layer = {"count": self.layers, "attention": mixer, **block}
        sizes = {"d_model": self.d_model, "vocab": VOCABULARY, "embedding_copies": 2.0}
        return Decoder.of({**sizes, "layers": [layer]})

    def kv_bytes_per_token(self, bytes_per_element: Scalar) -> Scalar:
        """Return bytes of keys and values cached per token of context."""
        return 2.0 * self.layers * self.kv_width * bytes_per_element


class ShapeLaw(eqx.Module):
    """Layers, width and KV width as power laws of N, fitted to public models (`configs.shapes`).

    Typical residuals are 10 % in layers, 12 % in width and 18 % in KV width, so KV bytes per token
    of a real model differ from the law's by about 24 %. Exponents are not negative, which keeps
    every cost a posynomial of N.
    """

    layers_at_1b: Scalar
    layers_exponent: Scalar
    d_model_at_1b: Scalar
    d_model_exponent: Scalar
    kv_width_at_1b: Scalar
    kv_width_exponent: Scalar
    kv_heads: Scalar

    def transformer(self, params: Scalar, experts: Scalar = 1.0) -> Transformer:
        """Return the typical shape of a model of ``params`` active parameters: layers and widths are a dense one's."""
        billions = params / 1e9
        return Transformer(
            params=params,
            layers=self.layers_at_1b * billions**self.layers_exponent,
            d_model=self.d_model_at_1b * billions**self.d_model_exponent,
            kv_width=self.kv_width_at_1b * billions**self.kv_width_exponent,
            kv_heads=self.kv_heads,
            experts=experts,
        )

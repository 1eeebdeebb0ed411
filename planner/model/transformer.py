"""The shape of a dense transformer: what a pass over it computes, weighs and caches."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar

from .decoder import Decoder
from .generic import HEAD_DIM, VOCABULARY

_NARROWEST = 0.1  # feed-forward width over model width where embeddings and attention alone exceed the parameters


class Transformer(eqx.Module):
    """A dense decoder with grouped-query attention; sizes may be fractional while planning.

    ``params`` counts every parameter (active = total). Attention is ``d_model`` wide, its keys and
    values ``kv_width`` = kv_heads x head_dim wide each.
    """

    params: Scalar
    layers: Scalar
    d_model: Scalar
    kv_width: Scalar
    kv_heads: Scalar

    def linear_flops(self, tokens: Scalar) -> Scalar:
        """Return FLOPs of all matrix products with weights: 2 N per token (Kaplan et al. 2020, section 2.1)."""
        return 2.0 * self.params * tokens

    def attention_flops(self, tokens: Scalar, context_tokens: Scalar) -> Scalar:
        """Return FLOPs of the scores and the weighted sum: 2 d_model each per layer, query and key."""
        return 4.0 * self.layers * self.d_model * tokens * context_tokens

    def embedding_params(self) -> Scalar:
        """Return the parameters of the two embeddings."""
        return 2.0 * VOCABULARY * self.d_model

    def decoder(self) -> Decoder:
        """Return the same sizes as the serving model takes them: feed-forward blocks are what is left of ``params``."""
        head_dim = self.kv_width / self.kv_heads
        attention = 2.0 * self.d_model**2 + 2.0 * self.d_model * self.kv_width
        rest = (self.params - self.embedding_params()) / self.layers - attention
        width = jnp.maximum(rest / (3.0 * self.d_model), _NARROWEST * self.d_model)
        heads = {"heads": self.d_model / HEAD_DIM, "kv_heads": self.kv_heads}
        mixer = {**heads, "key_dim": head_dim, "value_dim": head_dim}
        layer = {"count": self.layers, "attention": mixer, "dense": {"width": width, "matrices": 3.0}}
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

    def transformer(self, params: Scalar) -> Transformer:
        """Return the typical shape of a model of ``params`` parameters."""
        billions = params / 1e9
        return Transformer(
            params=params,
            layers=self.layers_at_1b * billions**self.layers_exponent,
            d_model=self.d_model_at_1b * billions**self.d_model_exponent,
            kv_width=self.kv_width_at_1b * billions**self.kv_width_exponent,
            kv_heads=self.kv_heads,
        )

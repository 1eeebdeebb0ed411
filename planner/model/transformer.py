"""The shape of a dense transformer: what a pass over it computes, weighs and caches."""

import equinox as eqx

from hw import Scalar


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

"""Decode attention over latents (MLA): every head of a sequence reads one shared latent per token."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..chip import Scalar
from .decode import DecodeShape
from .rates import Rates


class LatentDecode(eqx.Module):
    """Multi-head latent attention in its absorbed form (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    t = launch + ||4 batch heads tokens dim / (matmul_fraction peak), bytes / (hbm_fraction HBM)||_2, on the bf16 peak.
    Not fitted to timings, for none is among the recorded ones: the fractions are what FlashMLA states for one H800
    (github.com/deepseek-ai/FlashMLA, README of 2025-04-22: 3000 of 3350 GB/s, 660 of 989 TFLOP/s), ``launch_s`` is
    that of other decode kernels. Log-convex in the shape and the rates.
    """

    launch_s: Scalar
    matmul_fraction: Scalar
    hbm_fraction: Scalar

    def seconds(self, rates: Rates, shape: DecodeShape) -> Float[Array, "..."]:
        """Return the time of one call; ``shape`` as `DecodeShape.latent` makes it."""
        tokens = jnp.minimum(shape.kv_tokens, shape.window_tokens) * shape.batch
        flops = 2.0 * tokens * shape.heads * (shape.key_dim + shape.value_dim)
        compute_s = flops / (self.matmul_fraction * rates.flops_per_s)
        memory_s = tokens * shape.kv_bytes_per_token / (self.hbm_fraction * rates.hbm_bytes_per_s)
        return self.launch_s + jnp.sqrt(compute_s**2 + memory_s**2)


PUBLISHED = LatentDecode(launch_s=8e-6, matmul_fraction=0.667, hbm_fraction=0.896)

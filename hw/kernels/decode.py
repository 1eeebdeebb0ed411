"""Decode attention: one new query token per sequence reads the sequence's cached keys and values.

The time is a launch, rounds of thread blocks, and three streams joined by a p-norm: the cache through HBM, the
work of the cores on it, and the one longest sequence through the few cores that share it.

Kernels differ in what they do with heads == kv_heads and with windows (FlashAttention-2, Dao, arXiv 2307.08691:
no split of the KV axis, no packing of grouped heads inside a window; FlashAttention-3, Shah et al., arXiv
2407.08608, and TensorRT-LLM's kernels split always): parameters say which, not names.

Errors by chip and cache precision are in `configs/kernels` (5 to 11 % in the median). Groups of shapes left out of the
fit cost about 1 point, a whole head width errs by 6 to 15 %; constants of h100 and h200 serve each other to 6 % (bf16)
and 9 % (FP8 cache), h100's err by 29 and 42 % on b200.

Off: below 1 round of blocks, from 500 to 30000 tokens, by 10 to 20 (how often a kernel splits is a staircase);
at 64 to 256 tokens and more than 30 rounds up to 30 too slow; heads of 192 over an FP8 cache on b200, a Triton
kernel 1.5 times (large caches: 5 times) slower than this; heads of 512 on h100 1.8 times; heads of 256 over an FP8
cache on h100 17 too fast. b60 repeats a call only within 5 (median) to 23 (90th percentile).
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..chip import Scalar
from .rates import Rates

_CACHE_EXPONENT = 8  # sharpness of the fall out of the last-level cache; 4 to 10 fit alike
_NARROW_BYTES = 256.0  # heads storing up to this per token: width 64 in bf16, 128 in FP8
_ACTIVATION_BYTES = 2.0  # queries and outputs are bf16


class DecodeShape(eqx.Module):
    """One decode attention call on one device; fields are scalars or arrays of one shape.

    ``heads`` query heads share ``kv_heads`` KV heads; ``key_dim`` and ``value_dim`` are the widths of the two
    products QK and PV; ``kv_bytes_per_token`` is what one KV head stores for one token; ``kv_tokens`` is the
    context (cached tokens plus the new one) and ``window_tokens`` the sliding window, infinite for none.
    """

    batch: Scalar
    heads: Scalar
    kv_heads: Scalar
    key_dim: Scalar
    value_dim: Scalar
    kv_bytes_per_token: Scalar
    kv_tokens: Scalar
    window_tokens: Scalar

    @classmethod
    def grouped(
        cls,
        batch: Scalar,
        heads: Scalar,
        kv_heads: Scalar,
        head_dim: Scalar,
        kv_tokens: Scalar,
        kv_element_bytes: Scalar,
        window_tokens: Scalar = float("inf"),
    ) -> "DecodeShape":
        """Return multi-head or grouped-query attention with keys and values of one width."""
        stored = 2.0 * head_dim * kv_element_bytes
        return cls(batch, heads, kv_heads, head_dim, head_dim, stored, kv_tokens, window_tokens)

    @classmethod
    def latent(
        cls,
        batch: Scalar,
        heads: Scalar,
        kv_tokens: Scalar,
        kv_element_bytes: Scalar,
        latent_dim: Scalar = 512.0,
        rope_dim: Scalar = 64.0,
    ) -> "DecodeShape":
        """Return multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1) in its absorbed form.

        All heads read one latent of ``latent_dim`` + ``rope_dim`` per token, as key; its first ``latent_dim``
        are the value. Unvalidated: no such kernel is among the timings.
        """
        key_dim = latent_dim + rope_dim
        return cls(batch, heads, 1.0, key_dim, latent_dim, key_dim * kv_element_bytes, kv_tokens, float("inf"))


class Decode(eqx.Module):
    """Decode attention's parameters; one set per chip and KV precision, all positive.

    ``launch_s``             every call
    ``block_s``              one round of blocks over all cores: prologue and epilogue
    ``core_bytes_per_flop``  cache bytes that a core takes in per FLOP of its peak: conversion, softmax
    ``matmul_fraction``      reached share of the bf16 peak; GPU timings are never bound by it and leave it at its prior
    ``padding_tokens``       tokens' worth of that work in a block whatever its length: at least one tile
    ``combine_s``            second kernel that merges the splits of a sequence
    ``combine_tokens``       context at which half the calls split
    ``repack_s``             copy of the queries of grouped heads, FlashAttention-2 with batch > 1 and kv_heads > 1
    ``group_stream_ratio``   speed of one KV head of one sequence, in shares of one core (HBM rate / cores): about the
                             number of splits
    ``head_stream_ratio``    the same where heads == kv_heads; near 1 to 5 where the kernel does not split
    ``hbm_fraction``         reached share of HBM rate; may pass 1 slightly where the datasheet is conservative
    ``cached_ratio``         time of a byte that the last-level cache holds, against HBM
    ``cache_fraction``       share of the last-level cache that the calls' data may fill
    ``overlap``              p-norm exponent less one: 0 adds the streams, infinity takes the longest
    ``window_group_exponent`` blocks of a windowed call are kv_heads group^this: 0 packs a group, 1 (FlashAttention-2)
                             does not
    ``narrow_window_ratio``  extra blocks of narrow windowed heads once the context exceeds the window (0.6 to 0.8 in
                             FlashAttention-3, else near 0)
    """

    launch_s: Scalar
    block_s: Scalar
    core_bytes_per_flop: Scalar
    matmul_fraction: Scalar
    padding_tokens: Scalar
    combine_s: Scalar
    combine_tokens: Scalar
    repack_s: Scalar
    group_stream_ratio: Scalar
    head_stream_ratio: Scalar
    hbm_fraction: Scalar
    cached_ratio: Scalar
    cache_fraction: Scalar
    overlap: Scalar
    window_group_exponent: Scalar
    narrow_window_ratio: Scalar

    def seconds(self, rates: Rates, shape: DecodeShape) -> Float[Array, "..."]:
        """Return the time of one call; ``rates.flops_per_s`` is the bf16 peak whatever the KV precision.

        With L = min(context, window), g = heads / kv_heads and w = batch kv_heads / cores rounds of blocks:

            t = launch + block sqrt(1 + w^2) + combine L / (L + L_c) / (1 + w^2) + repack
                + pnorm_{1 + overlap}(bytes / HBM, w ((L + padding) intake + L arithmetic), L bytes per token / stream)

        HBM rate is hbm_fraction of the datasheet's, its time cached_ratio of that while bytes fit the cache.

        """
        streams = self._streams(rates, shape, self._residency(rates, shape))
        blocks, narrow = self._blocks(shape)
        rounds = blocks / rates.cores
        tokens = _visible(shape)
        strength = self._strength(shape) / self.group_stream_ratio
        split = tokens / (tokens + self.combine_tokens) / (1.0 + rounds**2) * strength + narrow
        several = (1.0 - jnp.maximum(shape.batch, 1.0) ** -3) * (1.0 - jnp.maximum(shape.kv_heads, 1.0) ** -3)
        repack = several * (1.0 - shape.kv_heads / shape.heads)
        copies = jnp.where(_windowed(shape), 0.0, repack) * self.repack_s
        rounds_s = self.block_s * jnp.sqrt(1.0 + rounds**2)
        return self.launch_s + rounds_s + self.combine_s * split + copies + self._joined(streams)

    def convex_seconds(self, rates: Rates, shape: DecodeShape) -> Float[Array, "..."]:
        """Return a generalised posynomial of the shape, hence log-convex, close to ``seconds`` on large calls.

        It never combines, always repacks grouped heads and never finds data in the cache. Valid without a window.
        Beyond three times the last-level cache it differs by 1 % or less in the median; small calls by up to 2x.
        """
        grouped = shape.heads != shape.kv_heads
        rounds_s = self.block_s * jnp.sqrt(1.0 + (shape.batch * shape.kv_heads / rates.cores) ** 2)
        copies = jnp.where(grouped, self.repack_s, 0.0)
        return self.launch_s + rounds_s + copies + self._joined(self._streams(rates, shape, 1.0))

    def _blocks(self, shape: DecodeShape) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """Return blocks before splitting and the narrow window's extra share of them."""
        windowed = _windowed(shape)
        beyond = windowed & (shape.window_tokens < shape.kv_tokens) & (shape.kv_bytes_per_token <= _NARROW_BYTES)
        narrow = jnp.where(beyond, self.narrow_window_ratio, 0.0)
        spread = (shape.heads / shape.kv_heads) ** jnp.where(windowed, self.window_group_exponent, 0.0)
        return shape.batch * shape.kv_heads * spread * (1.0 + narrow), narrow

    def _strength(self, shape: DecodeShape) -> Float[Array, "..."]:
        return jnp.where(shape.heads == shape.kv_heads, self.head_stream_ratio, self.group_stream_ratio)

    def _residency(self, rates: Rates, shape: DecodeShape) -> Float[Array, "..."]:
        """Return time per byte against HBM: ``cached_ratio`` well inside the cache, 1 well beyond."""
        fill = jnp.minimum(_bytes(shape) / (self.cache_fraction * rates.cache_bytes), 100.0)  # power within float32
        miss = 1.0 - 1.0 / (1.0 + fill**_CACHE_EXPONENT)
        return self.cached_ratio + (1.0 - self.cached_ratio) * miss

    def _streams(
        self, rates: Rates, shape: DecodeShape, residency: Scalar
    ) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Return the seconds of the cache through HBM, of tiles and arithmetic, of the longest sequence."""
        tokens = _visible(shape)
        rounds = self._blocks(shape)[0] / rates.cores
        core_flops_per_s = rates.flops_per_s / rates.cores
        token_flops = 2.0 * shape.heads / shape.kv_heads * (shape.key_dim + shape.value_dim)
        intake_s = shape.kv_bytes_per_token / (self.core_bytes_per_flop * core_flops_per_s)
        arithmetic_s = token_flops / (self.matmul_fraction * core_flops_per_s)
        hbm = _bytes(shape) / (self.hbm_fraction * rates.hbm_bytes_per_s) * residency
        cores = rounds * ((tokens + self.padding_tokens) * intake_s + tokens * arithmetic_s)
        share_bytes_per_s = rates.hbm_bytes_per_s / rates.cores
        longest = tokens * shape.kv_bytes_per_token / (self._strength(shape) * share_bytes_per_s)
        return hbm, cores, longest

    def _joined(self, streams: tuple[Float[Array, "..."], ...]) -> Float[Array, "..."]:
        p = 1.0 + self.overlap
        longest = jnp.maximum(jnp.maximum(streams[0], streams[1]), streams[2])  # scaling keeps powers within float32
        return longest * sum((stream / longest) ** p for stream in streams) ** (1.0 / p)


def _windowed(shape: DecodeShape) -> Array:
    return jnp.isfinite(shape.window_tokens)


def _visible(shape: DecodeShape) -> Float[Array, "..."]:
    return jnp.minimum(shape.kv_tokens, shape.window_tokens)


def _bytes(shape: DecodeShape) -> Float[Array, "..."]:
    """Return bytes of visible cache, queries and outputs."""
    cache = shape.kv_heads * _visible(shape) * shape.kv_bytes_per_token
    return shape.batch * (cache + shape.heads * (shape.key_dim + shape.value_dim) * _ACTIVATION_BYTES)


START = Decode(
    launch_s=9e-6,
    block_s=1e-6,
    core_bytes_per_flop=0.01,
    matmul_fraction=0.5,
    padding_tokens=300.0,
    combine_s=3e-6,
    combine_tokens=256.0,
    repack_s=5e-7,
    group_stream_ratio=60.0,
    head_stream_ratio=30.0,
    hbm_fraction=0.87,
    cached_ratio=0.35,
    cache_fraction=0.8,
    overlap=1.0,
    window_group_exponent=0.05,
    narrow_window_ratio=0.05,
)

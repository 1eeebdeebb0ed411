"""Prefill attention: every token of a prompt attends to the tokens before it, and its keys and values are stored.

The time is a launch, rounds of tiles, the last tile of the longest row, and two streams joined by a p-norm:
activations and cache writes through memory, and the causal products on the matrix units (FlashAttention-2, Dao,
arXiv 2307.08691, for the tiles; FlashAttention-3, Shah et al., arXiv 2407.08608, for the share of the softmax).

Errors by chip and cache precision are in `configs/kernels` (5 to 9 % in the median). Groups of shapes left out of the
fit cost about 1 point, a whole head width errs by 7 to 19 %; constants of h100 and h200 serve each other to 7 % (bf16)
and 9 % (FP8 cache), h100's err by 17 and 22 % on b200.

No call with an FP8 cache passes the bf16 peak (best 1954 of 2250 TFLOP/s, b200), and most are slower than with
bf16, so the bf16 peak is the yardstick of both.
Off: fewer than a tenth as many heads as cores, 500 to 3000 tokens, by 20 to 30 too fast; one query token in more
than 4 rounds (it is decode: use that); heads of 192 over an FP8 cache on b200, a Triton kernel 4 times slower
than this; heads of 512 by 4 to 12 too fast. Calls with a cached prefix are arithmetic only: none was timed.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..chip import Scalar
from .rates import Rates

_JOIN_EXPONENT = 1.3  # between adding (1) and the longer (infinity); fitted values lie within 1.0 to 1.4
_CACHE_EXPONENT = 4  # sharpness of the fall out of the last-level cache
_TILE_ROWS = 128.0  # query rows of one thread block
_ACTIVATION_BYTES = 2.0  # queries, keys, values and outputs arrive and leave in bf16


class PrefillShape(eqx.Module):
    """One prefill attention call on one device; fields are scalars or arrays of one shape.

    ``heads`` query heads share ``kv_heads`` KV heads; ``key_dim`` and ``value_dim`` are the widths of the two
    products QK and PV; ``query_tokens`` new tokens per sequence see ``kv_tokens`` in all (equal where nothing was
    cached before) through a window of ``window_tokens``, infinite for none; the cache stores
    ``kv_element_bytes`` per element.
    """

    batch: Scalar
    heads: Scalar
    kv_heads: Scalar
    key_dim: Scalar
    value_dim: Scalar
    query_tokens: Scalar
    kv_tokens: Scalar
    window_tokens: Scalar
    kv_element_bytes: Scalar

    @classmethod
    def grouped(
        cls,
        batch: Scalar,
        heads: Scalar,
        kv_heads: Scalar,
        head_dim: Scalar,
        query_tokens: Scalar,
        kv_element_bytes: Scalar,
        window_tokens: Scalar = float("inf"),
        prefix_tokens: Scalar = 0.0,
    ) -> "PrefillShape":
        """Return attention of one head width over ``prefix_tokens`` cached and ``query_tokens`` new tokens."""
        total = query_tokens + prefix_tokens
        return cls(batch, heads, kv_heads, head_dim, head_dim, query_tokens, total, window_tokens, kv_element_bytes)


class Prefill(eqx.Module):
    """Prefill attention's parameters; one set per chip and KV precision, all positive.

    ``launch_s``              every call
    ``prompt_launch_s``       more where there are several query tokens (the kernel that writes the cache)
    ``block_s``               one round of tiles over all cores: prologue and epilogue
    ``tile_rows``             least query rows that a tile computes
    ``padding_tokens``        masked keys that a tile computes at its causal edge; twice that with a window
    ``matmul_fraction``       reached share of the bf16 peak; 1.1 on b200, where ``softmax_dim`` takes the difference
    ``softmax_dim``           head width at which the exponentials take as long as the products
    ``wide_dim``              head width at which the tile outgrows registers and the products take 1.4 times as long
    ``last_tile_ratio``       share of the longest tile that nothing overlaps
    ``activation_bytes_per_flop`` bytes of queries and outputs moved in the time of one FLOP at peak; not a share of HBM
                              rate, for h100 and h200 take the same time
    ``write_bytes_per_flop``  the same of new keys and values, read, scattered into the cache and converted
    ``cached_ratio``          time of either byte while the last-level cache holds them all, against none
    ``cache_fraction``        share of the last-level cache that the call's data may fill
    ``window_waste_fraction`` share of the context beyond the window that is computed all the same (1 on Intel's b60)
    """

    launch_s: Scalar
    prompt_launch_s: Scalar
    block_s: Scalar
    tile_rows: Scalar
    padding_tokens: Scalar
    matmul_fraction: Scalar
    softmax_dim: Scalar
    wide_dim: Scalar
    last_tile_ratio: Scalar
    activation_bytes_per_flop: Scalar
    write_bytes_per_flop: Scalar
    cached_ratio: Scalar
    cache_fraction: Scalar
    window_waste_fraction: Scalar

    def seconds(self, rates: Rates, shape: PrefillShape) -> Float[Array, "..."]:
        """Return the time of one call; ``rates.flops_per_s`` is the bf16 peak whatever the KV precision.

        With V visible keys per query in the mean, d the mean of key and value width, f = matmul_fraction peak,
        q' = sqrt(q^2 + tile_rows^2), d' = sqrt(softmax_dim^2 + d^2 (1 + (d / wide_dim)^2)) and
        w = batch heads q' / (128 cores):

            t = launch + block sqrt(1 + w^2) + last_tile 4 * 128 max(V) d' cores / f
                + pnorm_1.3(bytes / rate, 4 batch heads q' (V + padding) d' / f)

        """
        q = shape.query_tokens
        furthest, visible, cut = self._visible(shape)
        row_s = self._row_s(rates, shape)
        pack = (shape.heads / shape.kv_heads) ** (-(q**-2))  # a lone query row shares its tile with its group
        rows = jnp.sqrt(q**2 + (self.tile_rows * pack) ** 2)
        products = shape.batch * shape.heads * rows / rates.cores
        rounds_s = self.block_s * jnp.sqrt(1.0 + (products / _TILE_ROWS) ** 2)
        compute_s = products * (visible + self.padding_tokens * (1.0 + cut)) * row_s
        last_s = self.last_tile_ratio * _TILE_ROWS * furthest * row_s * q / (q + _TILE_ROWS)
        fill = jnp.minimum(_bytes(shape) / (self.cache_fraction * rates.cache_bytes), 1e4)  # power within float32
        miss = 1.0 - 1.0 / (1.0 + fill**_CACHE_EXPONENT)
        memory_s = self._memory_s(rates, shape) * (self.cached_ratio + (1.0 - self.cached_ratio) * miss)
        launch_s = self.launch_s + self.prompt_launch_s * (1.0 - 1.0 / q)
        return launch_s + rounds_s + last_s + _joined(compute_s, memory_s)

    def convex_seconds(self, rates: Rates, shape: PrefillShape) -> Float[Array, "..."]:
        """Return a generalised posynomial of the shape, hence log-convex, close to ``seconds``.

        Valid for whole prompts (nothing cached before) without a window: V = q / 2. No byte is in the last-level cache.
        On large calls it differs by less than 1 %, on all by 0 to 5 % in the median.
        """
        q = shape.query_tokens
        row_s = self._row_s(rates, shape)
        products = shape.batch * shape.heads * jnp.sqrt(q**2 + self.tile_rows**2) / rates.cores
        rounds_s = self.block_s * jnp.sqrt(1.0 + (products / _TILE_ROWS) ** 2)
        compute_s = products * (0.5 * q + self.padding_tokens) * row_s
        last_s = self.last_tile_ratio * _TILE_ROWS * q * row_s
        memory_s = self._memory_s(rates, shape)
        return self.launch_s + self.prompt_launch_s + rounds_s + last_s + _joined(compute_s, memory_s)

    def _visible(self, shape: PrefillShape) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
        """Return the keys that the last query sees, that the mean query's tile computes, and the share cut off.

        Query i of q sees min(prefix + i, window): a ramp of length n = max(0, min(kv, window) - prefix) and a plateau,
        mean min(kv, window) - n^2 / (2 q). With a prefix this is arithmetic only: no such call is among the timings.
        """
        furthest = jnp.minimum(shape.kv_tokens, shape.window_tokens)
        prefix = shape.kv_tokens - shape.query_tokens
        mean = furthest - jnp.maximum(furthest - prefix, 0.0) ** 2 / (2.0 * shape.query_tokens)
        unskipped = shape.kv_tokens - 0.5 * shape.query_tokens - mean
        return furthest, mean + self.window_waste_fraction * unskipped, 1.0 - furthest / shape.kv_tokens

    def _row_s(self, rates: Rates, shape: PrefillShape) -> Float[Array, "..."]:
        """Return seconds of one query row against one key on one core."""
        width = 0.5 * (shape.key_dim + shape.value_dim)
        width = jnp.sqrt(self.softmax_dim**2 + width**2 * (1.0 + (width / self.wide_dim) ** 2))
        return 4.0 * width * rates.cores / (self.matmul_fraction * rates.flops_per_s)

    def _memory_s(self, rates: Rates, shape: PrefillShape) -> Scalar:
        """Return seconds of queries, outputs, cached prefix, new keys and values; the last-level cache holds none."""
        width = shape.key_dim + shape.value_dim
        prefix = jnp.minimum(shape.kv_tokens - shape.query_tokens, shape.window_tokens)
        new = shape.query_tokens * shape.kv_heads * _stored_bytes(shape) / self.write_bytes_per_flop
        old = shape.query_tokens * shape.heads * _ACTIVATION_BYTES + prefix * shape.kv_heads * shape.kv_element_bytes
        return shape.batch * width * (new + old / self.activation_bytes_per_flop) / rates.flops_per_s


def _stored_bytes(shape: PrefillShape) -> Scalar:
    """Return bytes moved per new key or value element: read, written to the cache, read back."""
    return _ACTIVATION_BYTES + 2.0 * shape.kv_element_bytes


def _bytes(shape: PrefillShape) -> Scalar:
    """Return bytes of queries, outputs and new keys and values: what must fit the cache."""
    per_width = shape.heads * _ACTIVATION_BYTES + shape.kv_heads * _stored_bytes(shape)
    return shape.batch * shape.query_tokens * (shape.key_dim + shape.value_dim) * per_width


def _joined(first: Float[Array, "..."], second: Scalar) -> Float[Array, "..."]:
    return (first**_JOIN_EXPONENT + second**_JOIN_EXPONENT) ** (1.0 / _JOIN_EXPONENT)


START = Prefill(
    launch_s=8e-6,
    prompt_launch_s=1.5e-6,
    block_s=1.5e-6,
    tile_rows=100.0,
    padding_tokens=48.0,
    matmul_fraction=0.72,
    softmax_dim=60.0,
    wide_dim=500.0,
    last_tile_ratio=0.6,
    activation_bytes_per_flop=0.003,
    write_bytes_per_flop=0.0016,
    cached_ratio=0.5,
    cache_fraction=0.9,
    window_waste_fraction=0.03,
)

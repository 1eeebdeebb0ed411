"""Time of one matrix multiplication y[m, n] = x[m, k] W[n, k]^T, in two fidelities that answer the same call.

`Gemm` is the sharp form: the library's choice among output tiles and splits of the k axis, wave by wave.
`ClosedGemm` is the closed form: sums and 2-norms of monomials, so that a program over m, n, k and the chip's
rates stays geometric. Both are fitted to the same timings; see the error tables in `configs/kernels`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..chip import Scalar
from .rates import Rates

# Output tiles (rows, columns) and k splits that vendor libraries ship for dense tensor cores; CUTLASS and cuBLAS name
# them in
# their kernel names. A quantised GEMM with scales in its epilogue does not split k.
TILE_M = (32.0, 64.0, 64.0, 64.0, 128.0, 128.0, 256.0)
TILE_N = (64.0, 32.0, 64.0, 128.0, 128.0, 256.0, 128.0)
SPLITS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0)
_STEP = 32.0  # elements: the multiple that the matrix units pad rows, columns and k to
_MICRO = 1e6  # times are summed in microseconds, whose powers fit in float32
_OUTPUT_BYTES = 2.0  # y is bf16 in every table
_PARTIAL_BYTES = 8.0  # a float32 partial sum written and read again


class GemmShape(eqx.Module):
    """One multiplication, or many: every number may be an array.

    ``element_bytes`` is the width of x and W as multiplied. ``weight_copies`` says how many weight matrices take turns
    before this one is used again: 6 in the recorded tables, the layer count times the matrices of a layer in a model,
    infinity for weights that are always cold. ``quantised`` adds the conversion of x from bf16.
    """

    m: Scalar
    n: Scalar
    k: Scalar
    element_bytes: Scalar = 2.0
    weight_copies: Scalar = 6.0
    quantised: bool = eqx.field(static=True, default=False)

    def flops(self) -> Scalar:
        """Return 2 m n k."""
        return 2.0 * self.m * self.n * self.k

    def read_bytes(self) -> Scalar:
        """Return the bytes of x and W, each read once."""
        return self.element_bytes * (self.m * self.k + self.n * self.k)

    def written_bytes(self) -> Scalar:
        """Return the bytes of y."""
        return _OUTPUT_BYTES * self.m * self.n

    def working_set_bytes(self) -> Scalar:
        """Return what passes through the cache between two uses of one weight matrix."""
        weights = self.weight_copies * self.element_bytes * self.n * self.k
        return weights + self.element_bytes * self.m * self.k + self.written_bytes()


class _Traffic(eqx.Module):
    """Parameters of data movement, common to both forms.

    ``launch_s`` is paid by every call; a call never returns before ``floor_s`` (the host's own pace). ``hbm_fraction``
    is the share of the datasheet bandwidth that reads reach, ``write_ratio`` the cost of a written byte against a read
    one, and of the writes ``overlap_odds`` to one run beside the arithmetic instead of after it. Data that fit in
    ``cache_fraction`` of the last-level cache move 1 + ``cached_read_gain`` or 1 + ``cached_write_gain`` times faster;
    ``cache_sharpness`` is how abruptly that ends. Converting x costs ``quantise_ratio`` per byte moved, less the same
    kind of gain ``cached_quantise_gain``.
    """

    launch_s: Scalar
    floor_s: Scalar
    compute_fraction: Scalar
    hbm_fraction: Scalar
    write_ratio: Scalar
    overlap_odds: Scalar
    cached_read_gain: Scalar
    cached_write_gain: Scalar
    cache_fraction: Scalar
    cache_sharpness: Scalar
    quantise_ratio: Scalar
    cached_quantise_gain: Scalar

    def _resident(self, rates: Rates, held_bytes: Scalar) -> Scalar:
        share = self.cache_fraction * rates.cache_bytes / held_bytes
        return jax.nn.sigmoid(self.cache_sharpness * jnp.log(share))

    def _micro_per_byte(self, rates: Rates) -> Scalar:
        return _MICRO / (self.hbm_fraction * rates.hbm_bytes_per_s)

    def _moves(self, rates: Rates, shape: GemmShape) -> tuple[Scalar, Scalar, Scalar]:
        """Return microseconds of memory traffic beside the arithmetic, of writes after it, and of converting x."""
        each = self._micro_per_byte(rates)
        gain = self.cached_read_gain * self._resident(rates, shape.working_set_bytes())
        reads = each * shape.read_bytes() / (1.0 + gain)
        gain = self.cached_write_gain * self._resident(rates, shape.written_bytes())
        writes = each * self.write_ratio * shape.written_bytes() / (1.0 + gain)
        beside = self.overlap_odds / (1.0 + self.overlap_odds)
        convert = 0.0
        if shape.quantised:
            moved = (2.0 + shape.element_bytes) * shape.m * shape.k
            gain = self.cached_quantise_gain * self._resident(rates, moved)
            convert = each * self.quantise_ratio * moved / (1.0 + gain)
        return reads + beside * writes, (1.0 - beside) * writes, convert

    def _whole(self, micro: Scalar) -> Scalar:
        """Return seconds of a call that takes ``micro`` on the device, the host's floor joined by a 6-norm."""
        device = micro + self.launch_s * _MICRO
        return jnp.sqrt(jnp.cbrt(device**6 + (self.floor_s * _MICRO) ** 6)) / _MICRO


class Gemm(_Traffic):
    """The sharp form: soft minimum over tiles and splits of a wave-quantised 4-norm roofline.

    For a tile of tm x tn outputs and S splits of k, w = ceil(m/tm) ceil(n/tn) S / cores waves run, each for
    ||multiply, feed, step||_4 per k element: the core's matrix units at ``compute_fraction`` of its share of the peak,
    on min(tm, m) + ``extra_rows`` (1 - 1/m^2) rows; its operand traffic at ``feed_ratio`` times its share of the HBM
    bandwidth; and ``step_s`` of latency. ``wave_rounding`` of the last, unfilled wave is paid; where that is 0 tiles
    are not rounded either. Splitting costs ``split_s`` and the traffic of partial sums. The minimum over all 56 choices
    is the -64-norm: 6 % below the smallest where all are equal (traffic binds them all), which ``hbm_fraction`` makes
    up for. Waves and ceilings: NVIDIA, Matrix Multiplication Background, sections "Tile quantization" and "Wave
    quantization". Off: L40S and RTX PRO 6000 at m <= 16, n <= 64 and 512 <= k <= 8192, where the library does not
    split k at all, up to 4 times too fast (1 % of the rows timed).
    """

    feed_ratio: Scalar
    extra_rows: Scalar
    step_s: Scalar
    split_s: Scalar
    wave_rounding: Scalar

    def seconds(self, rates: Rates, shape: GemmShape) -> Scalar:
        """Return the time of ``shape`` on a chip of ``rates``; the tile search adds no axis to the result."""
        beside, after, convert = self._moves(rates, shape)
        m, n, k, element, flops_per_s, hbm, cores, beside_, after_ = (
            jnp.asarray(x)[..., None, None]
            for x in (
                shape.m,
                shape.n,
                shape.k,
                shape.element_bytes,
                rates.flops_per_s,
                rates.hbm_bytes_per_s,
                rates.cores,
                beside,
                after,
            )
        )
        tile_m, tile_n = jnp.asarray(TILE_M, m.dtype)[:, None], jnp.asarray(TILE_N, m.dtype)[:, None]
        splits = jnp.asarray((1.0,) if shape.quantised else SPLITS, m.dtype)
        # one row is a product with a vector: no packing
        rows = jnp.minimum(tile_m, m) + self.extra_rows * (1.0 - m**-2.0)
        area = rows * jnp.minimum(tile_n, _STEP * jnp.ceil(n / _STEP))
        multiply = (2.0 * _MICRO / self.compute_fraction) * area * cores / flops_per_s
        feed = (_MICRO / self.feed_ratio) * (jnp.minimum(tile_m, m) + jnp.minimum(tile_n, n)) * element * cores / hbm
        per_k = _norm4(multiply, feed, self.step_s * _MICRO)
        waves = self._tiles(m / tile_m) * self._tiles(n / tile_n) * splits / cores
        waves = jnp.maximum(1.0, waves + self.wave_rounding * (jnp.ceil(waves) - waves))
        run = waves * per_k * (_STEP * jnp.ceil(k / (_STEP * splits)))
        partial = _PARTIAL_BYTES * _MICRO / (self.hbm_fraction * (1.0 + self.cached_read_gain))
        split = self.split_s * _MICRO + partial * splits * m * n / hbm
        times = _norm4(beside_, run) + after_ + jnp.where(splits > 1.0, split, 0.0)
        return self._whole(_softmin64(times) + convert)

    def _tiles(self, filled: Array) -> Array:
        """Return the tiles along an axis: whole ones, but where no wave is rounded either (a textbook's roofline)."""
        return jnp.where(self.wave_rounding > 0.0, jnp.ceil(filled), jnp.maximum(filled, 1.0))


class ClosedGemm(_Traffic):
    """The closed form: launch + ||memory, arithmetic, ``step_s`` k||_2 + writes after it + conversion of x.

    Arithmetic is 2 m n k (1 + ``half_m`` / m)(1 + ``half_n`` / n) / (``compute_fraction`` peak): half the rate is
    reached at m = ``half_m``. With cold weights (``weight_copies`` infinite and outputs beyond the cache) every term
    is a monomial with positive coefficient or a norm of such: log-convex in m, n, k, element_bytes and the chip's
    rates.
    """

    half_m: Scalar
    half_n: Scalar
    step_s: Scalar

    def seconds(self, rates: Rates, shape: GemmShape) -> Scalar:
        """Return the time of ``shape`` on a chip of ``rates``."""
        beside, after, convert = self._moves(rates, shape)
        filled = (1.0 + self.half_m / shape.m) * (1.0 + self.half_n / shape.n)
        arithmetic = _MICRO * shape.flops() * filled / (self.compute_fraction * rates.flops_per_s)
        step = self.step_s * _MICRO * shape.k
        return self._whole(jnp.sqrt(beside**2 + arithmetic**2 + step**2) + after + convert)


def _norm4(*times: Scalar) -> Scalar:
    """Return the 4-norm: squares and square roots cost a tenth of powers."""
    total = sum((t * t) * (t * t) for t in times)
    return jnp.sqrt(jnp.sqrt(total))


def _softmin64(times: Array) -> Array:
    """Return the -64-norm over the last two axes, scaled by the least time to keep powers within float32."""
    least = jax.lax.stop_gradient(times.min((-2, -1), keepdims=True))
    ratio = least / times
    for _ in range(6):
        ratio = ratio * ratio
    return least[..., 0, 0] * ratio.sum((-2, -1)) ** (-1.0 / 64.0)


_TRAFFIC = {
    "launch_s": 2e-6,
    "floor_s": 2e-6,
    "compute_fraction": 0.8,
    "hbm_fraction": 0.8,
    "write_ratio": 1.0,
    "overlap_odds": 0.5,
    "cached_read_gain": 0.7,
    "cached_write_gain": 0.3,
    "cache_fraction": 0.8,
    "cache_sharpness": 8.0,
    "quantise_ratio": 1.5,
    "cached_quantise_gain": 0.3,
}
START = Gemm(**_TRAFFIC, feed_ratio=8.0, extra_rows=8.0, step_s=1.5e-9, split_s=2.5e-6, wave_rounding=0.3)
CLOSED_START = ClosedGemm(**_TRAFFIC, half_m=30.0, half_n=30.0, step_s=4e-10)

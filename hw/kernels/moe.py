"""A fused mixture-of-experts layer on one device: two grouped matrix products over the experts it holds."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from ..chip import Scalar
from .rates import Rates

_TILE_ROWS = (16, 32, 64, 128)
_TILE_COLUMNS = 128
_SOFTMIN = 24.0
_QUANTILES = 8  # experts are counted at the middles of eight equal shares of the load's distribution
_SMALL_SPREAD = 200.0  # heaviest over lightest expert in batches of fewer pairs than experts, as the source draws them


def _root4(x: Scalar) -> Array:
    return jnp.sqrt(jnp.sqrt(x))


class MoeShape(eqx.Module):
    """One rank's layer for ``tokens`` tokens, topk experts each.

    ``inter`` (an expert is hidden x inter) and ``experts`` are the model's totals before ``tp`` and ``ep`` divide them.
    ``matrices`` is 3 for a gated expert (gate, up, down) and 2 without a gate. ``weight_bytes`` counts one
    element with its scales. ``skew_exponent`` says how unequally the experts are loaded: 0 evenly, a >= 1 with a
    density of load^-a between the lightest and the heaviest (the source measures 1.01 and 1.2).
    """

    tokens: Scalar
    hidden: Scalar
    inter: Scalar
    topk: Scalar
    experts: Scalar
    tp: Scalar
    ep: Scalar
    skew_exponent: Scalar
    matrices: Scalar
    weight_bytes: Scalar


class Load(eqx.Module):
    """Token-expert pairs that the busiest rank receives: in all, and per expert at eight quantiles (first axis)."""

    pairs: Array
    expert_pairs: Array

    def touched_fraction(self) -> Array:
        """Return the share of the rank's experts that receive a token: mean of min(load, 1), rounded off."""
        return self._touched().mean(0)

    def tiles_per_expert(self, tile_rows: float) -> Array:
        """Return the mean number of row tiles of one expert, part-filled ones included."""
        filled = self.expert_pairs / tile_rows + 0.5 * (1.0 - 1.0 / tile_rows)
        return (self._touched() * _root4(1.0 + filled**4)).mean(0)

    def _touched(self) -> Array:
        return self.expert_pairs / _root4(1.0 + self.expert_pairs**4)


def load(shape: MoeShape) -> Load:
    """Return the load of the busiest of ``ep`` ranks.

    The measured batches draw each expert's load from a density x^-a on [1, 0.8 tokens], or on [0.01, 2] where there
    are fewer pairs than experts, and scale the sum to tokens x topk, no expert beyond ``tokens``
    (github.com/ai-dynamo/aiconfigurator, collector/helper.py, power_law_logits_v3). Of that:

        busiest/mean rank = 1 + 2.30 cv ((ep - 0.95)^0.18 - 0.05^0.18) (experts/ep)^-0.55
        touched experts   = mean of min(load, 1) over the distribution

    the first bounded by ep and experts/topk, with cv the load's coefficient of variation. The constants are fitted
    to 8,272 simulated batches, not to times. Errors there in the median and at the 90th percentile: 1.4 and 14 % for
    pairs, 0.8 and 11 % for touched experts, 5 and 21 % for tiles; worst for even loads, which fill tiles exactly,
    and for one or two experts a rank.
    """
    share = shape.tokens * shape.topk / shape.experts
    held = shape.experts / shape.ep
    # The heaviest load over the lightest, in logarithms: two rules, by pairs against experts.
    many = jax.nn.sigmoid(20.0 * jnp.log(share / 1.05))
    log_spread = many * jnp.log(jnp.maximum(0.8 * shape.tokens, 1.01)) + (1.0 - many) * jnp.log(_SMALL_SPREAD)
    log_spread = log_spread * jnp.minimum(shape.skew_exponent, 1.0)
    slope = shape.skew_exponent - 1.0 + 1e-4  # exactly 1 would divide by zero
    quantile = ((jnp.arange(_QUANTILES) + 0.5) / _QUANTILES).reshape((-1,) + (1,) * jnp.ndim(log_spread))
    log_x = -jnp.log1p(quantile * jnp.expm1(-slope * log_spread)) / slope
    x = jnp.exp(log_x)
    variation = jnp.sqrt(jnp.maximum((x**2).mean(0) / x.mean(0) ** 2 - 1.0, 1e-9))
    ranks = (shape.ep - 0.95) ** 0.18 - 0.05**0.18  # zero at one rank, where its slope stays finite
    imbalance = 1.0 + 2.30 * variation * ranks * held**-0.55
    bound = jnp.minimum(shape.ep, shape.experts / shape.topk)
    imbalance = ((imbalance**-3.5 + bound**-3.5) / (1.0 + bound**-3.5)) ** (-1 / 3.5)
    pairs = _root4(1.0 + (share * held * imbalance) ** 4)  # the busiest rank has at least one pair
    # The heaviest expert dominates a rank of few experts: their loads draw together until the one expert has all.
    relative = jnp.exp(log_x * (1.0 - 1.0 / held))
    mean = pairs / held
    expert_pairs = jnp.minimum(mean * relative / relative.mean(0), shape.tokens)
    return Load(pairs, jnp.minimum(expert_pairs * mean / expert_pairs.mean(0), shape.tokens))


class Moe(eqx.Module):
    """Parameters of one precision's kernels on one kind of chip.

    With D bytes of touched weights, row tiles of r in 16 to 128, and the two products
    n x k = (matrices - 1) inter/tp x hidden and hidden x inter/tp:

        t = start + growth tokens^(1/4) + join(warm D/(hbm_fraction bw), softmin over r of work(r)) + staging
        work = sum over products of (wave_offset + tiles/cores) (256 height k/(compute_fraction peak/cores) + tile)
        tiles = row tiles (n/128 + 1/2);  height = 128 (r + half_rows)/(128 + half_rows)
        staging = warm 2 bytes (pair_passes tokens topk + local_pair_passes pairs) (hidden + matrices/2 inter/tp)/bw
        join(a, b) = (a^(1+overlap) + b^(1+overlap))^(1/(1+overlap))
        warm = 1 - c + c/(1 + cache_speedup),  c = 1/(1 + (bytes/(cache_share cache))^4)

    ``peak`` is that of the precision the arithmetic runs in (bf16 for 4-bit weights with 16-bit activations).
    ``growth_s`` is the slow growth of the small kernels (routing, sorting, activation, quantisation, summing).
    ``half_rows`` says how little a lower tile saves: 0 in proportion, infinity nothing. The passes count trips of an
    expert's activations through memory, over all pairs (kernels that also walk the pairs of other ranks' experts) and
    over this rank's. ``warm`` is what the cache keeps between calls and kernels. ``compute_fraction`` is reached by
    tiles of 128 rows. ``hbm_fraction`` may pass 1 where the other terms already explain the time, and falls to
    0.13 - 0.19 for fp8 on Hopper, whose CUTLASS kernels stream weights that slowly.

    Errors by chip and precision are in `configs/kernels`: 4 to 10 % in the median, 11 to 12 % for mxfp4 weights where
    gpt-oss and Marlin kernels share a set (4 to 9 % apart). Configurations held out cost 0 to 2 points more. h100
    predicts h200 to 8 - 13 % and is predicted to 8 - 20 %; b200 runs other kernels, and h100's constants miss it by 18
    - 320 %. What is left is systematic: residuals on h100 and h200 correlate 0.85 - 0.96 and differ by 3 %. Off by a
    factor of two where inter/tp is no multiple of 16, and on a100 at many tokens for experts as wide as 14336.
    """

    start_s: Scalar
    growth_s: Scalar
    compute_fraction: Scalar
    hbm_fraction: Scalar
    half_rows: Scalar
    tile_s: Scalar
    wave_offset: Scalar
    overlap: Scalar
    pair_passes: Scalar
    local_pair_passes: Scalar
    cache_share: Scalar
    cache_speedup: Scalar

    def seconds(self, rates: Rates, shape: MoeShape) -> Array:
        """Return the seconds of one layer on the busiest rank."""
        received = load(shape)
        held = shape.experts / shape.ep
        inter = shape.inter / shape.tp
        weight_bytes = received.touched_fraction() * held * shape.matrices * shape.hidden * inter * shape.weight_bytes
        memory_s = self._warm(rates, weight_bytes) * weight_bytes / (self.hbm_fraction * rates.hbm_bytes_per_s)
        tiled_s = [self._tiled_s(rates, shape, rows, held * received.tiles_per_expert(rows)) for rows in _TILE_ROWS]
        tile_s = jnp.exp(-jax.nn.logsumexp(-_SOFTMIN * jnp.log(jnp.stack(tiled_s)), axis=0) / _SOFTMIN)
        buffer_bytes = 2.0 * shape.tokens * shape.topk * (shape.hidden + 0.5 * shape.matrices * inter)
        staging_s = self._warm(rates, buffer_bytes) * self._staging_s(rates, shape, received.pairs)
        return self._fixed_s(shape) + self._join(memory_s, tile_s) + staging_s

    def closed_seconds(self, rates: Rates, shape: MoeShape, tile_rows: float, imbalance: Scalar = 1.0) -> Array:
        """Return the time for one tile height, every expert touched and nothing cached: log-convex in sizes and rates.

        ``imbalance`` is the busiest rank's load over the mean, a constant here. Only sums, products and
        p-norms of monomials remain.
        """
        held = shape.experts / shape.ep
        pairs = imbalance * shape.tokens * shape.topk / shape.ep
        tiles = held * _root4(1.0 + (pairs / held / tile_rows + 0.5) ** 4)
        weight_bytes = held * shape.matrices * shape.hidden * shape.inter / shape.tp * shape.weight_bytes
        memory_s = weight_bytes / (self.hbm_fraction * rates.hbm_bytes_per_s)
        work_s = self._join(memory_s, self._tiled_s(rates, shape, tile_rows, tiles))
        return self._fixed_s(shape) + work_s + self._staging_s(rates, shape, pairs)

    def _fixed_s(self, shape: MoeShape) -> Array:
        return self.start_s + self.growth_s * _root4(shape.tokens)

    def _tiled_s(self, rates: Rates, shape: MoeShape, rows: float, row_tiles: Scalar) -> Scalar:
        """Return the cores' time for both products in tiles of ``rows`` by 128."""
        inter = shape.inter / shape.tp
        core_flops_per_s = self.compute_fraction * rates.flops_per_s / rates.cores
        height = _TILE_ROWS[-1] * (rows + self.half_rows) / (_TILE_ROWS[-1] + self.half_rows)
        depth_s = 2.0 * _TILE_COLUMNS * height / core_flops_per_s
        total_s = 0.0
        for columns, depth in (((shape.matrices - 1.0) * inter, shape.hidden), (shape.hidden, inter)):
            waves = self.wave_offset + row_tiles * (columns / _TILE_COLUMNS + 0.5) / rates.cores
            total_s = total_s + waves * (depth_s * depth + self.tile_s)
        return total_s

    def _staging_s(self, rates: Rates, shape: MoeShape, pairs: Scalar) -> Scalar:
        passes = self.pair_passes * shape.tokens * shape.topk + self.local_pair_passes * pairs
        width = shape.hidden + 0.5 * shape.matrices * shape.inter / shape.tp
        return 2.0 * passes * width / rates.hbm_bytes_per_s

    def _warm(self, rates: Rates, used_bytes: Scalar) -> Scalar:
        """Return the seconds per byte from cache and memory together, over those from memory alone."""
        cached = 1.0 / (1.0 + (used_bytes / (self.cache_share * rates.cache_bytes)) ** 4)
        return 1.0 - cached + cached / (1.0 + self.cache_speedup)

    def _join(self, a: Scalar, b: Scalar) -> Array:
        power = 1.0 + self.overlap
        return jnp.exp(jnp.logaddexp(power * jnp.log(a), power * jnp.log(b)) / power)


START = Moe(
    start_s=1.5e-5,
    growth_s=3e-6,
    compute_fraction=0.6,
    hbm_fraction=0.85,
    half_rows=60.0,
    tile_s=6e-7,
    wave_offset=1.2,
    overlap=1.3,
    pair_passes=1.0,
    local_pair_passes=1.0,
    cache_share=0.4,
    cache_speedup=3.0,
)

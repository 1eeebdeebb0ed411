"""Chips and slices of them, in SI units."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


class Chip(eqx.Module):
    """One accelerator as its datasheet describes it; every rate is a peak and counts one chip.

    ``peak_flops_per_s`` holds dense FLOP/s by precision. ``link_bytes_per_s`` is one direction
    inside the scale-up domain of ``domain_chips``, ``scale_out_bytes_per_s`` one direction beyond it.
    """

    peak_flops_per_s: dict[str, Scalar]
    hbm_bytes: Scalar
    hbm_bytes_per_s: Scalar
    link_bytes_per_s: Scalar
    domain_chips: Scalar
    scale_out_bytes_per_s: Scalar
    power_w: Scalar


class Efficiency(eqx.Module):
    """The share of datasheet rates that serving software reaches, and its fixed costs.

    ``matmul_fraction``, ``hbm_fraction`` and ``link_fraction`` multiply the chip's peaks.
    ``overlap_exponent`` p joins compute and memory time as (c^p + m^p)^(1/p): 1 is no overlap,
    infinity the textbook roofline. ``hop_latency_s`` is paid per all-reduce, ``layer_overhead_s``
    per layer and step, ``sequence_overhead_s`` per sequence and step. ``kv_memory_fraction``
    is the KV cache's share of the memory that weights leave. ``fp4_matmul_ratio`` further multiplies the
    FP4 peak. ``prefill_chunk_tokens`` share one prefill pass.
    """

    matmul_fraction: Scalar
    hbm_fraction: Scalar
    link_fraction: Scalar
    overlap_exponent: Scalar
    hop_latency_s: Scalar
    layer_overhead_s: Scalar
    sequence_overhead_s: Scalar
    kv_memory_fraction: Scalar
    fp4_matmul_ratio: Scalar
    prefill_chunk_tokens: Scalar


class Slice(eqx.Module):
    """``n_chips`` chips that hold one copy of a model, split by tensor parallelism."""

    chip: Chip
    n_chips: Scalar
    efficiency: Efficiency

    def compute_s(self, flops: Scalar, peak_flops_per_s: Scalar) -> Scalar:
        """Return seconds of arithmetic: ``flops`` spread over all chips at the reached share of the peak."""
        return flops / (self.n_chips * peak_flops_per_s * self.efficiency.matmul_fraction)

    def memory_s(self, bytes_per_chip: Scalar) -> Scalar:
        """Return seconds to move ``bytes_per_chip`` through each chip's HBM."""
        return bytes_per_chip / (self.chip.hbm_bytes_per_s * self.efficiency.hbm_fraction)

    def all_reduce_s(self, message_bytes: Scalar) -> tuple[Scalar, Scalar]:
        """Return (latency, transfer) seconds of one ring all-reduce of ``message_bytes`` over the slice.

        Inside the domain each chip sends 2 (n-1)/n of the message (Patarasuk and Yuan 2009, JPDC 69(2)).
        A slice that spans m domains adds an all-reduce among them of each chip's 1/n share of the
        message over the scale-out network. One hop latency is paid at each of the two levels.
        """
        inside = jnp.minimum(self.n_chips, self.chip.domain_chips)
        domains = self.n_chips / inside
        link = self.chip.link_bytes_per_s * self.efficiency.link_fraction
        scale_out = self.chip.scale_out_bytes_per_s * self.efficiency.link_fraction
        levels = jnp.where(inside > 1, 1.0, 0.0) + jnp.where(domains > 1, 1.0, 0.0)
        wire = 2.0 * (inside - 1.0) / inside / link + 2.0 * (domains - 1.0) / domains / inside / scale_out
        return levels * self.efficiency.hop_latency_s, message_bytes * wire

"""Chips and slices of them, in SI units."""

import equinox as eqx
from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float


class Chip(eqx.Module):
    """One accelerator as its datasheet describes it; every rate is a peak and counts one chip.

    ``peak_flops_per_s`` holds dense FLOP/s by precision. Links are the kernels' business (`hw.kernels.Rates`).
    """

    peak_flops_per_s: dict[str, Scalar]
    hbm_bytes: Scalar
    hbm_bytes_per_s: Scalar
    power_w: Scalar


class Slice(eqx.Module):
    """``n_chips`` chips that hold one copy of a model, in ``stages`` of a pipeline, tensor parallelism within each."""

    chip: Chip
    n_chips: Scalar
    stages: Scalar

    def compute_s(self, flops: Scalar, peak_flops_per_s: Scalar) -> Scalar:
        """Return seconds of arithmetic at the peak: ``flops`` spread over all chips."""
        return flops / (self.n_chips * peak_flops_per_s)

    def memory_s(self, bytes_per_chip: Scalar) -> Scalar:
        """Return seconds to move ``bytes_per_chip`` through each chip's HBM at its full rate."""
        return bytes_per_chip / self.chip.hbm_bytes_per_s

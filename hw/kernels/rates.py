"""What a kernel sees of the chip it runs on: the datasheet's rates for one precision."""

import equinox as eqx

from ..chip import Scalar


class Rates(eqx.Module):
    """One chip's peaks as a kernel of one precision meets them; every leaf may also be an array, one entry per row.

    ``cores`` counts streaming multiprocessors, compute units or tensor cores; ``cache_bytes`` is the
    last-level cache they share; ``link_bytes_per_s`` one direction of the chip's scale-up link.
    """

    flops_per_s: Scalar
    hbm_bytes_per_s: Scalar
    cores: Scalar
    cache_bytes: Scalar
    link_bytes_per_s: Scalar

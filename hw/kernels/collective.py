"""Collective operations (all-reduce, all-gather, reduce-scatter, all-to-all) over one level of links."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from ..chip import Scalar
from .rates import Rates


class CollectiveShape(eqx.Module):
    """One collective: ``message_bytes`` as nccl-tests counts them, over ``devices`` >= 2.

    ``passes`` is how often the message crosses the ring: 2 for an all-reduce (a reduce-scatter and an
    all-gather), 1 for every other operation.
    """

    message_bytes: Scalar
    devices: Scalar
    passes: Scalar


class Collective(eqx.Module):
    """Parameters of one operation under one library (NCCL, oneCCL, a custom kernel) on one kind of link.

    Formula, with N devices, h = N - 1 hops and w the seconds on the wire:

        t = start + hop h^hop_exponent + w + 2 sqrt(pipeline w)
        w = passes/2 bytes (copy + 2 h/N (N/2)^crowding) / (1 + copy) / (link_fraction link)

    ``start_s`` is launch, ``hop_s`` the latency of one hop (about linear in N for a ring: exponent 0.9 - 1,
    near 0.3 for NCCL's all-to-all). ``pipeline_s``: a message cut into chunks of the best size fills and
    drains its pipeline in 2 sqrt(latency w) (Sanders, Speck and Traeff 2009, Parallel Computing 35(12));
    it also stands in for the switch between NCCL's LL, LL128 and Simple protocols. 2 h/N is the ring's traffic
    (Patarasuk and Yuan 2009, JPDC 69(2)); ``copy_ratio`` is work on the message that does not grow with N (local
    reads and reductions, and NVLink SHARP, which flattens the ring's traffic). ``crowding_exponent`` is 0 on a
    switch and about 2 on eight L40S whose PCIe rings share host bridges. ``link_fraction`` is the bandwidth that
    two devices reach as a share of the datasheet's one direction: a ratio, which may pass 1.

    The ring runs at its slowest link, so pass that as ``rates.link_bytes_per_s``: NVLink for a bridged pair, PCIe
    once the ring leaves the pair, the scale-out rate beyond the domain (same formula; not validated there).
    ``devices`` beyond 8 extrapolates: wire time stays nearly bounded on a switch, but the start grows as for a ring
    (100 - 200 us at 72), where a library would change to trees or to in-switch reduction and take less.

    Errors by chip are in `configs/kernels`: 3 to 8 % in the median on NCCL's all-reduce of 2 to 8 devices. Constants
    of h100 and h200 serve each other to 4 - 7 %; b200 from h100 is off by 27 - 34 (start and hop are 1.9 and 1.3 times
    h100's). What is left are protocol switches, up to 45 % at 4 - 8 MB on b200, where the measured times jump by
    themselves. Every term is a monomial in bytes and in the rate, so the time is log-convex in both: no second form is
    needed for a geometric program.
    """

    start_s: Scalar
    hop_s: Scalar
    hop_exponent: Scalar
    pipeline_s: Scalar
    link_fraction: Scalar
    copy_ratio: Scalar
    crowding_exponent: Scalar

    def wire_s(self, rates: Rates, shape: CollectiveShape) -> Array:
        """Return the seconds that the message occupies the slowest link of the ring."""
        ring = 2.0 * (shape.devices - 1.0) / shape.devices * (0.5 * shape.devices) ** self.crowding_exponent
        wire_bytes = 0.5 * shape.passes * shape.message_bytes * (self.copy_ratio + ring) / (1.0 + self.copy_ratio)
        return wire_bytes / (self.link_fraction * rates.link_bytes_per_s)

    def seconds(self, rates: Rates, shape: CollectiveShape) -> Array:
        """Return the seconds of one call."""
        wire_s = self.wire_s(rates, shape)
        latency_s = self.start_s + self.hop_s * (shape.devices - 1.0) ** self.hop_exponent
        return latency_s + wire_s + 2.0 * jnp.sqrt(self.pipeline_s * wire_s)


START = Collective(
    start_s=4e-6,
    hop_s=1.5e-6,
    hop_exponent=0.8,
    pipeline_s=1e-6,
    link_fraction=0.6,
    copy_ratio=0.5,
    crowding_exponent=0.05,
)

"""How long one optimiser step takes: micro-batches through the pipeline, gradients and weights over the copies."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar

from ..model.decoder import Decoder
from ..serving.device import Device, Timed
from ..serving.ops import ExpertLayer, Matmul, Message, PrefillAttention, Stream, Work
from .layout import TrainingLayout
from .states import GRADIENT_BYTES, UPDATE_BYTES, WEIGHT_BYTES, Held
from .work import converted_elements, expert_rows, micro_batch

_CONVERTED_BYTES = 3.0  # a 16-bit element read, an 8-bit one written


class StepTally(eqx.Module):
    """A step as a trainer's parameters meet it. Fields are numbers or arrays, one entry per run.

    Seconds of one micro-batch on one stage: of products, forwards and of their gradients; of attention (``older`` is 1
    where its kernels are), experts, streams and collectives, forwards. Counts of it: layers, layers of experts, rows
    of experts. ``converted_s`` reads and writes what narrow formats convert, once forwards. Per step:
    ``micro_batches`` through each stage, ``bubble`` as a share of them, seconds to gather weights once, to scatter
    gradients once and to update; ``sharded`` as in the layout. ``tokens`` count one chip's share of the global batch.
    """

    gemm_s: Scalar
    gradient_s: Scalar
    attention_s: Scalar
    older: Scalar
    expert_s: Scalar
    stream_s: Scalar
    link_s: Scalar
    converted_s: Scalar
    layers: Scalar
    expert_layers: Scalar
    expert_rows: Scalar
    micro_batches: Scalar
    bubble: Scalar
    gather_s: Scalar
    scatter_s: Scalar
    sharded: Scalar
    update_s: Scalar
    recomputed: Scalar
    tokens: Scalar


class Trainer(eqx.Module):
    """One training stack's profile: what it adds to the kernels, fitted to published runs.

    Ratios are the time of its kernels over that of the timed ones: ``gemm_ratio``, ``attention_ratio`` (forwards),
    ``older_attention_ratio`` (times that, where kernels were not written for the chip's matrix units),
    ``expert_ratio``, and of collectives what products do not hide, ``link_ratio``. ``backward_ratio`` is attention's
    gradient over its forward pass (five products instead of two, each slower: Dao 2023, arXiv:2307.08691, section 4.1,
    some 2.5 to 3.5). ``stream_passes`` counts reads and writes of the residual per norm, ``conversion_passes`` those of
    narrow formats per operand. ``layer_s`` and ``expert_layer_s`` are spent per layer and micro-batch forwards, twice
    that backwards; ``expert_row_s`` per row of experts on routing. ``overlap_fraction`` of a step's work hides
    gathering and scattering over copies. ``step_s`` is spent per step. Where a run does not say,
    ``recompute_fraction`` of the forward pass is done again.
    """

    gemm_ratio: Scalar
    attention_ratio: Scalar
    older_attention_ratio: Scalar
    backward_ratio: Scalar
    expert_ratio: Scalar
    link_ratio: Scalar
    stream_passes: Scalar
    conversion_passes: Scalar
    layer_s: Scalar
    expert_layer_s: Scalar
    expert_row_s: Scalar
    overlap_fraction: Scalar
    step_s: Scalar
    recompute_fraction: Scalar

    def attention_s(self, tally: StepTally) -> Scalar:
        """Return the seconds of attention of one micro-batch forwards."""
        return self.attention_ratio * jnp.where(tally.older > 0, self.older_attention_ratio, 1.0) * tally.attention_s

    def forward_s(self, tally: StepTally) -> Scalar:
        """Return the seconds of one micro-batch forwards on one stage."""
        routed = self.expert_layer_s * tally.expert_layers + self.expert_row_s * tally.expert_rows
        kernels = (
            self.gemm_ratio * tally.gemm_s
            + self.attention_s(tally)
            + self.expert_ratio * tally.expert_s
            + self.stream_passes * tally.stream_s
            + self.conversion_passes * tally.converted_s
        )
        return kernels + self.link_ratio * tally.link_s + self.layer_s * tally.layers + routed

    def backward_s(self, tally: StepTally) -> Scalar:
        """Return the seconds of its gradients: two products for each, five for attention's two."""
        routed = self.expert_layer_s * tally.expert_layers + self.expert_row_s * tally.expert_rows
        kernels = (
            self.gemm_ratio * tally.gradient_s
            + self.backward_ratio * self.attention_s(tally)
            + 2.0 * self.expert_ratio * tally.expert_s
            + 2.0 * self.stream_passes * tally.stream_s
            + 2.0 * self.conversion_passes * tally.converted_s
        )
        return kernels + self.link_ratio * tally.link_s + 2.0 * (self.layer_s * tally.layers + routed)

    def parts(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of a step by what takes them: passes, bubble, what copies wait for, updates, host."""
        again = jnp.where(tally.recomputed < 0, self.recompute_fraction, tally.recomputed)
        many = tally.micro_batches
        forward, backward = many * self.forward_s(tally), many * self.backward_s(tally)
        busy = (1.0 + again) * forward + backward
        # Sharded weights are gathered for every micro-batch, forwards and backwards; else once, with sums in 32 bits.
        each = jnp.maximum(many, 1.0) * (2.0 * tally.gather_s + tally.scatter_s)
        once = tally.gather_s + 2.0 * tally.scatter_s
        carried = self.link_ratio * jnp.where(tally.sharded > 0, each, once)
        return {
            "forward": forward,
            "backward": backward,
            "recomputed": again * forward,
            "bubble": tally.bubble * busy,
            "exposed": jnp.maximum(carried - self.overlap_fraction * busy, 0.0),
            "update": tally.update_s,
            "host": self.step_s,
        }

    def step_s_of(self, tally: StepTally) -> Array:
        """Return the seconds of a step."""
        return jnp.asarray(sum(self.parts(tally).values()))

    def tokens_per_s_per_chip(self, tally: StepTally) -> Array:
        """Return tokens trained on per second and chip."""
        return tally.tokens / self.step_s_of(tally)


def tally(
    model: Decoder, params: Scalar, layout: TrainingLayout, device: Device, sequence_tokens: Scalar, sequences: Scalar,
    narrow: Scalar, older: Scalar, recomputed: Scalar,
) -> StepTally:  # fmt: skip
    """Return a step over a global batch of ``sequences``; ``narrow`` is 1 where products convert their operands.

    ``older`` is 1 where attention kernels are of the generation before the chip's. ``recomputed`` is the share of the
    forward pass that is done again, -1 where the run does not say.
    """
    work = micro_batch(model, layout, sequence_tokens)
    times, gradients = device.times(work.forward), device.times(work.gradients)
    held = Held.of(model, params, layout)
    many = layout.micro_batches(sequences)
    counted = [op.count for op in work.forward if isinstance(op, ExpertLayer)]
    return StepTally(
        gemm_s=_seconds(work.forward, times, Matmul),
        gradient_s=_seconds(work.gradients, gradients, Matmul),
        attention_s=_seconds(work.forward, times, PrefillAttention),
        older=older,
        expert_s=_seconds(work.forward, times, ExpertLayer),
        stream_s=_seconds(work.forward, times, Stream),
        link_s=_seconds(work.forward, times, Message),
        converted_s=narrow * _CONVERTED_BYTES * converted_elements(work.forward) / device.hbm_bytes_per_s,
        layers=model.layer_count() / layout.pp,
        expert_layers=sum(counted, 0.0),
        expert_rows=expert_rows(work.forward),
        micro_batches=many,
        bubble=layout.bubble(jnp.maximum(many, 1.0)),
        gather_s=_over_copies(device, "all_gather", held, layout, WEIGHT_BYTES),
        scatter_s=_over_copies(device, "reduce_scatter", held, layout, GRADIENT_BYTES),
        sharded=layout.sharded,
        update_s=UPDATE_BYTES * held.updated(layout) / device.hbm_bytes_per_s,
        recomputed=recomputed,
        tokens=sequences * sequence_tokens / layout.chips(),
    )


def _seconds(work: Sequence[Work], times: dict[str, list[Timed]], kind: type) -> Scalar:
    names = dict.fromkeys(op.name for op in work if isinstance(op, kind))
    return sum((one.seconds for name in names for one in times[name]), jnp.zeros(()))


def _over_copies(device: Device, kind: str, held: "Held", layout: TrainingLayout, element_bytes: Scalar) -> Scalar:
    """Return the seconds of a collective over the copies of a chip's weights, experts' and others'."""
    groups = (
        (held.shared, layout.copies(), layout.tp),
        (held.experts, layout.expert_copies(), jnp.maximum(layout.ep, layout.tp)),
    )
    messages = []
    for params, copies, stride in groups:
        live = jnp.where((copies > 1) & (params > 0), 1.0, 0.0)
        messages.append(
            Message(kind, kind, live, jnp.maximum(params * element_bytes, 1.0), jnp.maximum(copies, 2.0), stride=stride)
        )
    return sum((one.seconds for one in device.times(messages)[kind]), jnp.zeros(()))

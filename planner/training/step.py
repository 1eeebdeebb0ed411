"""How long one optimiser step takes: micro-batches through the pipeline, gradients and weights over the copies."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar

from ..serving.device import Device, Timed
from ..serving.ops import Matmul, Message, PrefillAttention, Stream, Work
from .layout import TrainingLayout
from .states import GRADIENT_BYTES, RESERVED_FRACTION, UPDATE_BYTES, WEIGHT_BYTES, Activations, Held, State
from .work import EXPERTS, NARROWED, converted_elements, expert_rows, micro_batch

_ACCUMULATED_BYTES = 8.0  # of a weight's gradient, a 32-bit sum: read and written
# Multiprocessors that keep InfiniBand and NVLink busy (DeepSeek-AI 2024, arXiv:2412.19437, section 3.2.2).
_LINK_CORES = 20.0
_CONVERTED_BYTES = 3.0  # a 16-bit element read, an 8-bit one written


class StepTally(eqx.Module):
    """A step as a trainer's parameters meet it. Fields are numbers or arrays, one entry per run.

    Seconds of one micro-batch on one stage: of products, forwards and of their gradients, those in formats narrower
    than 16 bits apart; of attention (``older`` is 1 where its kernels are), experts (``narrow`` is 1 where their
    products are), streams and collectives (``far_s`` of tokens that go to experts of other scale-up domains), forwards.
    Counts of it: layers, layers of experts, rows of experts.
    ``converted_s`` reads and writes what narrow formats convert, once forwards. Per step: ``micro_batches`` through
    each stage, ``bubble`` as a share of them, seconds to gather weights once, to scatter gradients once and to update.
    ``recomputed`` is the share of the forward pass that is done again, below 0 where the run does not say,
    ``least_recomputed`` what it takes to fit into memory; ``sharded``, ``sharded_gradients`` and ``zero_bubble`` are as
    in the layout.
    ``overlapped`` is 0 where collectives of layers run between kernels, else by what factor kernels are slower for
    running beside them. ``tokens`` count one chip's share of the global batch.
    """

    gemm_s: Scalar
    gradient_s: Scalar
    narrow_gemm_s: Scalar
    narrow_gradient_s: Scalar
    attention_s: Scalar
    older: Scalar
    expert_s: Scalar
    expert_gradient_s: Scalar
    narrow: Scalar
    stream_s: Scalar
    link_s: Scalar
    far_s: Scalar
    converted_s: Scalar
    layers: Scalar
    expert_layers: Scalar
    expert_rows: Scalar
    micro_batches: Scalar
    bubble: Scalar
    gather_s: Scalar
    scatter_s: Scalar
    sharded: Scalar
    sharded_gradients: Scalar
    update_s: Scalar
    recomputed: Scalar
    least_recomputed: Scalar
    tokens: Scalar
    zero_bubble: Scalar
    overlapped: Scalar

    def recomputed_fraction(self) -> Scalar:
        """Return the share of the forward pass that is done again: as said, or the least that fits into memory."""
        return jnp.where(self.recomputed < 0, self.least_recomputed, self.recomputed)


class Trainer(eqx.Module):
    """One training stack's profile: what it adds to the kernels, fitted to published runs.

    Ratios are the time of its kernels over that of the timed ones: ``gemm_ratio``, ``narrow_ratio`` (times that, of
    products in formats narrower than 16 bits), ``attention_ratio`` (forwards),
    ``older_attention_ratio`` (times that, where kernels were not written for the chip's matrix units),
    ``expert_ratio``, and of collectives what products do not hide, ``link_ratio``. ``backward_ratio`` is attention's
    gradient over its forward pass (five products instead of two, each slower: Dao 2023, arXiv:2307.08691, section 4.1,
    some 2.5 to 3.5). ``stream_passes`` counts reads and writes of the residual per norm, ``conversion_passes`` those of
    narrow formats per operand. ``layer_s`` and ``expert_layer_s`` are spent per layer and micro-batch forwards, twice
    that backwards; ``expert_row_s`` per row of experts on routing. ``overlap_fraction`` of a step's work hides
    gathering and scattering over copies. ``step_s`` is spent per step.
    """

    gemm_ratio: Scalar
    narrow_ratio: Scalar
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

    def attention_s(self, tally: StepTally) -> Scalar:
        """Return the seconds of attention of one micro-batch forwards."""
        return self.attention_ratio * jnp.where(tally.older > 0, self.older_attention_ratio, 1.0) * tally.attention_s

    def products_s(self, wide_s: Scalar, narrow_s: Scalar) -> Scalar:
        """Return the seconds of matrix products that kernels take ``wide_s`` and, in narrow formats, ``narrow_s``."""
        return self.gemm_ratio * (wide_s + self.narrow_ratio * narrow_s)

    def experts_s(self, seconds: Scalar, tally: StepTally) -> Scalar:
        """Return the seconds of products of experts that take ``seconds`` as one product."""
        return self.expert_ratio * jnp.where(tally.narrow > 0, self.narrow_ratio, 1.0) * seconds

    def forward(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of one micro-batch forwards on one stage, by what takes them."""
        return self._with_links(tally, {
            "matrix products": self.products_s(tally.gemm_s, tally.narrow_gemm_s),
            "attention": self.attention_s(tally),
            "experts": self.experts_s(tally.expert_s, tally),
            **self._around(tally),
        })  # fmt: skip

    def backward(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of its gradients: two products for each, five for attention's two."""
        return self._with_links(tally, {
            "matrix products": self.products_s(tally.gradient_s, tally.narrow_gradient_s),
            "attention": self.backward_ratio * self.attention_s(tally),
            "experts": self.experts_s(tally.expert_gradient_s, tally),
            **{name: 2.0 * seconds for name, seconds in self._around(tally).items()},
        })  # fmt: skip

    def _around(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of what goes on around the products, which is twice as much backwards."""
        return {
            "routing": self.expert_layer_s * tally.expert_layers + self.expert_row_s * tally.expert_rows,
            "norms, activations, losses": self.stream_passes * tally.stream_s,
            "conversions": self.conversion_passes * tally.converted_s,
            "launches and host per layer": self.layer_s * tally.layers,
        }

    def _with_links(self, tally: StepTally, kernels: dict[str, Scalar]) -> dict[str, Scalar]:
        """Return ``kernels`` and collectives: what products do not hide of them, or what lasts longer than all else."""
        shared = jnp.maximum(tally.overlapped, 1.0)
        slowed = {name: shared * seconds for name, seconds in kernels.items()}
        outlasting = jnp.maximum(tally.link_s - sum(slowed.values(), jnp.zeros(())), 0.0)
        exposed = jnp.where(tally.overlapped > 0, outlasting, self.link_ratio * tally.link_s)
        return {**slowed, "collectives of layers": exposed}

    def weight_gradient_s(self, tally: StepTally) -> Scalar:
        """Return the seconds of the gradients of weights: one of the two products for each."""
        products_s = self.products_s(tally.gradient_s, tally.narrow_gradient_s)
        return 0.5 * (products_s + self.experts_s(tally.expert_gradient_s, tally))

    def parts(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of a step by what takes them: passes, bubble, what copies wait for, updates, host."""
        again = tally.recomputed_fraction()
        many = tally.micro_batches
        passes = self.forward(tally), self.backward(tally)
        forward, backward = (many * sum(one.values(), jnp.zeros(())) for one in passes)
        busy = (1.0 + again) * forward + backward
        # Zero-bubble schedules fill (p - 1) (F + B) with twice the weights' gradients (DeepSeek-AI 2024,
        # arXiv:2412.19437, table 2: ZB1P).
        filled = jnp.minimum(tally.zero_bubble * 2.0 * many * self.weight_gradient_s(tally), busy)
        # Weights that are cut are gathered for every micro-batch, forwards and backwards, whole ones once a step.
        # Gradients that are cut are summed over copies after every micro-batch, whole ones once a step, in 32 bits.
        turns = jnp.maximum(many, 1.0)
        cut = (tally.sharded > 0) | (tally.sharded_gradients > 0)
        gathered = jnp.where(tally.sharded > 0, 2.0 * turns, 1.0) * tally.gather_s
        carried = gathered + jnp.where(cut, turns, 2.0) * tally.scatter_s
        # Tokens on their way to experts of other domains use the same links.
        free = jnp.maximum(self.overlap_fraction * busy - (2.0 + again) * many * tally.far_s, 0.0)
        return {
            "forward": forward,
            "backward": backward,
            "recomputed": again * forward,
            "bubble": tally.bubble * (busy - filled),
            "exposed": jnp.maximum(carried - free, 0.0),
            "update": tally.update_s,
            "host": self.step_s,
        }

    def kernels(self, tally: StepTally) -> dict[str, Scalar]:
        """Return the seconds of all micro-batches' passes by what takes them, forwards, backwards and again."""
        forward, backward = self.forward(tally), self.backward(tally)
        passes = 1.0 + tally.recomputed_fraction()
        return {name: tally.micro_batches * (passes * forward[name] + backward[name]) for name in forward}

    def step_s_of(self, tally: StepTally) -> Array:
        """Return the seconds of a step."""
        return jnp.asarray(sum(self.parts(tally).values()))

    def tokens_per_s_per_chip(self, tally: StepTally) -> Array:
        """Return tokens trained on per second and chip."""
        return tally.tokens / self.step_s_of(tally)


def tally(given: Mapping[str, Any], layout: TrainingLayout, sequences: Scalar) -> tuple[StepTally, State, Activations]:
    """Return a step over a global batch of ``sequences``, and what each chip holds meanwhile.

    ``given`` has the ``decoder``; its ``params``, ``device`` and ``hbm_bytes`` as numbers; ``sequence_tokens``;
    ``expert_load`` as in `micro_batch`; ``recomputed``, below 0 where the run does not say; and flags, 0 or 1: whether
    products convert their operands (``narrow``), attention kernels are of the generation before the chip's
    (``older``), collectives of layers run beside the kernels of another micro-batch (``overlapped``), layers can be
    reversed (``reversible``: their inputs are computed again, none are kept).
    """
    model, device = given["decoder"], Device.of(given["device"])
    work = micro_batch(model, layout, given["sequence_tokens"], given["expert_load"])
    times, gradients = device.times(work.forward), device.times(work.gradients)
    held = Held.of(model, given["params"], layout)
    many = layout.micro_batches(sequences)
    counted = [op.count for op in work.experts]
    expert_bytes = device.formats["dense"].element_bytes * work.expert_params
    narrow, state = given["narrow"], held.states(layout)
    kept = Activations.of(model, work.forward, layout, given["sequence_tokens"], many, given["reversible"])
    room = given["hbm_bytes"] * (1.0 - RESERVED_FRACTION) - state.total()
    told = StepTally(
        gemm_s=_products_s(work.forward, times, 1.0 - narrow, 1.0),
        gradient_s=_products_s(work.gradients, gradients, 1.0 - narrow, 1.0),
        narrow_gemm_s=_products_s(work.forward, times, narrow, 0.0),
        narrow_gradient_s=_products_s(work.gradients, gradients, narrow, 0.0),
        attention_s=_seconds(work.forward, times, PrefillAttention),
        older=given["older"],
        expert_s=_experts_s(times, expert_bytes, device),
        expert_gradient_s=_experts_s(gradients, expert_bytes + _ACCUMULATED_BYTES * work.expert_params, device),
        narrow=narrow,
        stream_s=_seconds(work.forward, times, Stream),
        link_s=_seconds(work.forward, times, Message),
        far_s=jnp.where(layout.ep > device.domain_chips, _named_s(times, ("dispatch", "combine")), 0.0),
        converted_s=narrow * _CONVERTED_BYTES * converted_elements(work.forward) / device.hbm_bytes_per_s,
        layers=kept.layers,
        expert_layers=sum(counted, 0.0),
        expert_rows=expert_rows(work.experts),
        micro_batches=many,
        bubble=layout.bubble(jnp.maximum(many, 1.0)),
        gather_s=_over_copies(device, "all_gather", held, layout, WEIGHT_BYTES),
        scatter_s=_over_copies(device, "reduce_scatter", held, layout, GRADIENT_BYTES),
        sharded=layout.sharded,
        sharded_gradients=layout.sharded_gradients,
        update_s=UPDATE_BYTES * held.updated(layout) / device.hbm_bytes_per_s,
        recomputed=jnp.where(given["reversible"] > 0, 1.0, given["recomputed"]),
        least_recomputed=kept.least_recomputed(room),
        tokens=sequences * given["sequence_tokens"] / layout.chips(),
        zero_bubble=layout.zero_bubble,
        overlapped=given["overlapped"] * _beside_links(device.cores),
    )
    return told, state, kept


def _beside_links(cores: Scalar) -> Scalar:
    """Return by what factor kernels are slower beside collectives that run on cores of their own."""
    taken = jnp.where(cores > 2.0 * _LINK_CORES, _LINK_CORES, 0.0)  # chips of a few large cores have engines for it
    return cores / (cores - taken)


def _products_s(
    work: Sequence[Work], times: dict[str, list[Timed]], of_narrow: Scalar, of_others: Scalar
) -> Scalar:  # fmt: skip
    """Return seconds of products, those of roles that recipes narrow and all others times a factor each."""
    roles = {op.name: op.role for op in work if isinstance(op, Matmul)}
    factors = {
        name: of_narrow if role in NARROWED else of_others for name, role in roles.items() if name not in EXPERTS
    }
    return sum((f * one.seconds for name, f in factors.items() for one in times[name]), jnp.zeros(()))


def _experts_s(times: dict[str, list[Timed]], moved_bytes: Scalar, device: Device) -> Scalar:
    return jnp.maximum(_named_s(times, EXPERTS), moved_bytes / device.hbm_bytes_per_s)


def _named_s(times: dict[str, list[Timed]], names: Sequence[str]) -> Scalar:
    return sum((one.seconds for name in names for one in times.get(name, ())), jnp.zeros(()))


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

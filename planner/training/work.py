"""What one micro-batch asks of each chip, forwards and backwards: operations as in serving, and their gradients."""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp

from hw import Scalar

from ..model.decoder import Decoder
from ..serving.ops import DecodeAttention, ExpertLayer, Load, Matmul, Message, PrefillAttention, Stream, Work
from ..serving.work import ACTIVATION_BYTES, Pass
from .layout import TrainingLayout

_DECODING = (DecodeAttention,)
_ONCE = ("head", "pipeline", "indexer")  # what a pass of prompts has that training does otherwise
EXPERTS = ("experts up", "experts down")
NARROWED = ("attention", "dense")  # roles of products that FP8 and FP4 recipes convert
LOGIT_BYTES = 4.0  # losses are taken in float32


class MicroBatch(NamedTuple):
    """Operations of a forward pass, and of the backward pass beyond what follows from those by a factor.

    A product's gradients are two products of other shapes. Those of attention, streams and messages are the forward
    ones some times over: `planner.training.step` says how often. The products of all experts that a chip holds run as
    one kernel, timed as one product of all their rows, and no faster than their weights are read: ``expert_params`` of
    them, all layers together.
    """

    forward: list[Work]
    gradients: list[Matmul]
    experts: list[ExpertLayer]
    expert_params: Scalar


def micro_batch(
    model: Decoder, layout: TrainingLayout, sequence_tokens: Scalar, expert_load: Scalar = 1.0
) -> MicroBatch:
    """Return the work of one micro-batch on the busiest chip of a stage.

    ``expert_load`` is what the busiest chip's experts compute over the mean of all chips: 1 where tokens are forced to
    balance; a capacity factor where each expert takes that much and drops the rest; measured imbalance where none is.
    With context parallelism each chip has 1/cp of every sequence, in two pieces that even out the causal work, so a
    query sees half of the whole sequence on average as it does without.
    """
    tokens = sequence_tokens / layout.cp
    seen_before = 0.5 * (sequence_tokens - tokens)
    stage = layout.stage()
    load = Load(0.0, 1.0, layout.micro_batch * stage.dp, tokens, seen_before)
    work = _once_per_domain(Pass(model, stage, load).work())
    experts = [replace(op, tokens=op.tokens * expert_load) for op in work if isinstance(op, ExpertLayer)]
    skipped = (*_DECODING, ExpertLayer)
    forward: list[Work] = [op for op in work if not isinstance(op, skipped) and op.name not in _ONCE]
    params: Scalar = 0.0
    for op in experts:
        x, inner = op.block, op.block.width / op.tp
        received = op.tokens * x.topk / op.ep
        forward.append(Matmul(EXPERTS[0], "dense", op.count, received, (x.matrices - 1.0) * inner, op.hidden))
        forward.append(Matmul(EXPERTS[1], "dense", op.count, received, op.hidden, inner))
        params = params + op.count * x.experts / op.ep * x.matrices * op.hidden * inner
    rows = layout.micro_batch * tokens
    width = model.vocab / layout.tp
    forward.append(Matmul("head", "head", 1.0 / layout.pp, rows, width, model.d_model))
    # Logits are written, read for the loss, and their gradient written and read.
    forward.append(Stream("loss", 1.0 / layout.pp, 2.0 * rows * width * LOGIT_BYTES))
    ring = rows * _kv_width(forward) * ACTIVATION_BYTES
    forward.append(Message("ring", "send", jnp.where(layout.cp > 1, 1.0, 0.0) * (layout.cp - 1.0), ring, 2.0))
    sent = rows * model.d_model * ACTIVATION_BYTES / layout.tp
    forward.append(Message("pipeline", "send", jnp.where(layout.pp > 1, layout.vp, 0.0), sent, 2.0))
    gradients = []
    for op in forward:
        if isinstance(op, Matmul):
            gradients.append(Matmul(op.name, op.role, op.count, op.rows, op.k, op.n))
            gradients.append(Matmul(op.name, op.role, op.count, op.k, op.n, op.rows))
    return MicroBatch(forward, gradients, experts, params)


def _once_per_domain(work: list[Work]) -> list[Work]:
    """Return ``work`` with tokens sent to each scale-up domain once, however many of its experts they go to."""
    out: list[Work] = []
    topk: Scalar = 0.0
    for op in work:
        topk = op.block.topk if isinstance(op, ExpertLayer) else topk
        exchanged = isinstance(op, Message) and op.name in ("dispatch", "combine")
        out.append(replace(op, draws=topk) if exchanged else op)
    return out


def _kv_width(work: list[Work]) -> Scalar:
    """Return the features of keys and values of all layers that a chip holds, per token."""
    calls = [op for op in work if isinstance(op, PrefillAttention)]
    return sum((op.count * op.kv_heads * (op.key_dim + op.value_dim) for op in calls), 0.0)


def expert_rows(experts: list[ExpertLayer]) -> Scalar:
    """Return how many rows of experts the chip computes, over all layers: tokens times experts chosen."""
    return sum((op.count * op.tokens * op.block.topk / (op.tp * op.ep) for op in experts), 0.0)


def converted_elements(work: list[Work]) -> Scalar:
    """Return the elements that narrow formats convert in a forward pass: what goes into each product."""
    out: Scalar = 0.0
    for op in work:
        if isinstance(op, Matmul) and op.role in NARROWED:
            out = out + op.count * op.rows * op.k
    return out

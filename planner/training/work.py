"""What one micro-batch asks of each chip, forwards and backwards: operations as in serving, and their gradients."""

from typing import NamedTuple

import jax.numpy as jnp

from hw import Scalar

from ..model.decoder import Decoder
from ..serving.ops import DecodeAttention, ExpertLayer, Load, Matmul, Message, PrefillAttention, Stream, Work
from ..serving.work import ACTIVATION_BYTES, Pass
from .layout import TrainingLayout

_DECODING = (DecodeAttention,)
_ONCE = ("head", "pipeline", "indexer")  # what a pass of prompts has that training does otherwise
LOGIT_BYTES = 4.0  # losses are taken in float32


class MicroBatch(NamedTuple):
    """Operations of a forward pass, and of the backward pass beyond what follows from those by a factor.

    A product's gradients are two products of other shapes. Those of attention, experts, streams and messages are the
    forward ones some times over: `planner.training.step` says how often.
    """

    forward: list[Work]
    gradients: list[Matmul]


def micro_batch(model: Decoder, layout: TrainingLayout, sequence_tokens: Scalar) -> MicroBatch:
    """Return the work of one micro-batch on the busiest chip of a stage.

    With context parallelism each chip has 1/cp of every sequence, in two pieces that even out the causal work, so a
    query sees half of the whole sequence on average as it does without.
    """
    tokens = sequence_tokens / layout.cp
    seen_before = 0.5 * (sequence_tokens - tokens)
    stage = layout.stage()
    load = Load(0.0, 1.0, layout.micro_batch * stage.dp, tokens, seen_before)
    work = Pass(model, stage, load).work()
    forward: list[Work] = [op for op in work if not isinstance(op, _DECODING) and op.name not in _ONCE]
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
    return MicroBatch(forward, gradients)


def _kv_width(work: list[Work]) -> Scalar:
    """Return the features of keys and values of all layers that a chip holds, per token."""
    calls = [op for op in work if isinstance(op, PrefillAttention)]
    return sum((op.count * op.kv_heads * (op.key_dim + op.value_dim) for op in calls), 0.0)


def expert_rows(work: list[Work]) -> Scalar:
    """Return how many rows of experts the chip computes, over all layers: tokens times experts chosen."""
    layers = [op for op in work if isinstance(op, ExpertLayer)]
    return sum((op.count * op.tokens * op.block.topk / (op.tp * op.ep) for op in layers), 0.0)


def converted_elements(work: list[Work]) -> Scalar:
    """Return the elements that narrow formats convert in a forward pass: what goes into each product."""
    out: Scalar = 0.0
    for op in work:
        if isinstance(op, Matmul) and op.role in ("attention", "dense"):
            out = out + op.count * op.rows * op.k
        if isinstance(op, ExpertLayer):
            rows = op.count * op.tokens * op.block.topk / (op.tp * op.ep)
            out = out + rows * (op.hidden + op.block.width)
    return out

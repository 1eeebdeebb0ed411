"""One serving replica: how long a decode step, a prefill and a request take, and how many fit.

Batch economics of continuous batching with paged KV: every step reads the weights once for all B
sequences and each sequence's own KV once. All times are posynomials of (N, B) joined by p-norms,
so they are log-convex and grow with both.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from hw import Operation, Part, Scalar, Slice, Sum, total

from ..model.transformer import Transformer

ACTIVATION_BYTES = 2.0  # activations and all-reduce messages are bf16 in the engines fitted


class Precision(eqx.Module):
    """Bytes and speed of a number format: of one weight, one KV element, and the chip's peaks in use."""

    weight_bytes: Scalar
    kv_bytes: Scalar
    linear_flops_per_s: Scalar
    attention_flops_per_s: Scalar


class Requests(eqx.Module):
    """Mean request: prompt and answer tokens, and the fraction of the prompt found in the prefix cache."""

    input_tokens: Scalar
    output_tokens: Scalar
    cached_fraction: Scalar

    def new_input_tokens(self) -> Scalar:
        """Return prompt tokens that must be prefilled."""
        return self.input_tokens * (1.0 - self.cached_fraction)

    def decode_context_tokens(self) -> Scalar:
        """Return the mean number of cached tokens that a decode step reads per sequence."""
        return self.input_tokens + 0.5 * self.output_tokens

    def reserved_tokens(self) -> Scalar:
        """Return cached tokens per sequence that memory must hold for it to finish without preemption."""
        return self.input_tokens + self.output_tokens


class Pass(eqx.Module):
    """One forward pass by part, in seconds; every part is a monomial or a pair of monomials of (N, B)."""

    linear: Operation
    attention: Operation
    hop_s: Scalar
    wire_s: Scalar
    layer_s: Scalar
    sequence_s: Scalar

    def sum(self) -> Sum:
        """Return the parts one after the other; hops and launches, alike in N and B, as one."""
        return Sum([self.linear, self.attention, self.hop_s + self.layer_s, self.wire_s, self.sequence_s])


class Replica(eqx.Module):
    """A transformer at a precision on a slice of chips, under tensor parallelism.

    Not modelled here: pipeline and data parallel attention, speculative decoding, queueing. KV
    heads are replicated once the slice has more chips than there are KV heads.
    """

    transformer: Transformer
    slice: Slice
    precision: Precision
    requests: Requests

    def kv_shards(self) -> Scalar:
        """Return over how many chips one token's KV is spread."""
        return jnp.minimum(self.slice.n_chips, self.transformer.kv_heads)

    def memory_fill(self, batch: Scalar) -> list[Scalar]:
        """Return the shares of HBM that weights, and KV of ``batch`` full sequences, take.

        Engines give KV a fraction of what the weights leave (TensorRT-LLM's free_gpu_memory_fraction),
        so weights count in full and KV is divided by that fraction.
        """
        kv = self.transformer.kv_bytes_per_token(self.precision.kv_bytes) * self.requests.reserved_tokens()
        hbm = self.slice.chip.hbm_bytes
        room = hbm * self.slice.efficiency.kv_memory_fraction
        return [self.weight_bytes_per_chip() / hbm, batch * kv / self.kv_shards() / room]

    def weight_bytes_per_chip(self) -> Scalar:
        """Return bytes of weights that each chip holds and reads once per step."""
        return self.transformer.params * self.precision.weight_bytes / self.slice.n_chips

    def _pass(self, tokens: Scalar, sequences: Scalar, attention_flops: Scalar, kv_bytes_per_chip: Scalar) -> Pass:
        model, chips, how = self.transformer, self.slice, self.precision
        linear = Operation(
            chips.compute_s(model.linear_flops(tokens), how.linear_flops_per_s),
            chips.memory_s(self.weight_bytes_per_chip()),
        )
        attention = Operation(
            chips.compute_s(attention_flops, how.attention_flops_per_s), chips.memory_s(kv_bytes_per_chip)
        )
        message = tokens * model.d_model * ACTIVATION_BYTES
        hop_s, wire_s = chips.all_reduce_s(message)
        reduces = 2.0 * model.layers  # after attention and after the feed-forward block
        return Pass(
            linear,
            attention,
            reduces * hop_s,
            reduces * wire_s,
            model.layers * chips.efficiency.layer_overhead_s,
            sequences * chips.efficiency.sequence_overhead_s,
        )

    def decode_step(self, batch: Scalar) -> Pass:
        """Return one step that gives each of ``batch`` sequences its next token."""
        context = self.requests.decode_context_tokens()
        kv = batch * context * self.transformer.kv_bytes_per_token(self.precision.kv_bytes)
        attention = self.transformer.attention_flops(batch, context)
        return self._pass(batch, batch, attention, kv / self.kv_shards())

    def prefill_pass(self, prompts: Scalar) -> Pass:
        """Return one pass over the new tokens of ``prompts`` prompts.

        Each new token attends to the cached prefix and, causally, to half of the new part; the KV
        of a prompt is written once and read once.
        """
        new = self.requests.new_input_tokens()
        context = self.requests.input_tokens - 0.5 * new
        kv = (new + self.requests.input_tokens) * self.transformer.kv_bytes_per_token(self.precision.kv_bytes)
        attention = self.transformer.attention_flops(prompts * new, context)
        return self._pass(prompts * new, 0.0, attention, prompts * kv / self.kv_shards())

    def at(self, batch: Scalar) -> "OperatingPoint":
        """Return the replica decoding ``batch`` sequences at a time."""
        # Short prompts share a pass of the engine's chunk size; a long one has several chunks' worth to itself.
        together = jnp.maximum(self.slice.efficiency.prefill_chunk_tokens / self.requests.new_input_tokens(), 1.0)
        return OperatingPoint(
            replica=self,
            batch=batch,
            step=self.decode_step(batch).sum(),
            prefill=self.prefill_pass(together).sum().scaled(1.0 / together),
            first=self.prefill_pass(1.0).sum(),
        )


class OperatingPoint(eqx.Module):
    """A replica at a batch. ``step``, ``prefill`` (per prompt) and ``first`` (one prompt alone) are times."""

    replica: Replica
    batch: Scalar
    step: Sum
    prefill: Sum
    first: Sum

    def request_parts(self) -> list[Part]:
        """Return replica-seconds per request: its prefill and its share of every decode step."""
        return [self.prefill, self.step.scaled(self.replica.requests.output_tokens / self.batch)]

    def tpot_parts(self) -> list[Part]:
        """Return mean seconds between a user's tokens: a step, and the prefills that interrupt it.

        In steady state ``batch`` / output_tokens requests finish per step, and as many prompts enter.
        """
        return [self.step, self.prefill.scaled(self.batch / self.replica.requests.output_tokens)]

    def ttft_parts(self) -> list[Part]:
        """Return seconds to the first token: wait for the running step, then the prompt's own pass.

        No queue is included: at the planned peak some requests wait longer.
        """
        return [self.step, self.first]

    def seconds(self, parts: Sequence[Part]) -> Scalar:
        """Return the sum of ``parts`` in seconds under this engine's overlap."""
        return total(parts, self.replica.slice.efficiency.overlap_exponent)

"""One serving replica in the search's form: roofline, the engine's overheads, and what kernels take beyond them.

Batch economics of continuous batching with paged KV: every step reads the weights once for all B sequences and each
sequence's own KV once (of a mixture of experts, the weights that one sequence uses: more are touched by more, up to
all, but no convex function of ln B that is right for one sequence grows with them; the residual has the rest).
Every part is a monomial of (N, B), or a pair of them joined by a p-norm, so times are
log-convex and grow with both. The last part of each time, its residual, is a monomial that is set such that the time
equals the calibrated kernels' and has their slopes where a plan lies: condensation, the classical step from a
geometric program to a signomial one (Boyd et al. 2007, "A tutorial on geometric programming", section 9.1).
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp

from hw import Operation, Part, Scalar, Slice, Sum, total

from ..model.transformer import Transformer
from .engine import Engine
from .residuals import REFERENCE

HEAD_BYTES = 2.0  # embeddings stay in bf16
OVERLAP = 8.0  # p of the p-norm that joins compute and memory: within 9 % of the longer, from above
# The share of rooflines that the form counts. Calibrated kernels are slower than this, so that what is left of their
# time stays positive: those of chips never timed come as close as 0.62 to the datasheet's rooflines and overheads.
ROOFLINE_SHARE = 0.6


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


class Residual(eqx.Module):
    """Seconds beyond roofline and overheads: exp(log) (N / 1e10)^params_exponent (B / 64)^batch_exponent
    experts^experts_exponent."""

    log: Scalar
    params_exponent: Scalar
    batch_exponent: Scalar
    experts_exponent: Scalar = 0.0

    def seconds(self, params: Scalar, batch: Scalar, experts: Scalar) -> Scalar:
        """Return the monomial."""
        size, sequences = jnp.log(params / REFERENCE[0]), jnp.log(batch / REFERENCE[1])
        beyond = self.params_exponent * size + self.batch_exponent * sequences
        return jnp.exp(self.log + beyond + self.experts_exponent * jnp.log(experts))


class Residuals(eqx.Module):
    """Those of a decode step, of one prompt among others, and of the first token beyond a step."""

    step: Residual
    prefill: Residual
    first: Residual


class Pass(eqx.Module):
    """One forward pass by part, in seconds: rooflines of products with weights and of attention, overheads."""

    linear: Operation
    attention: Operation
    launch_s: Scalar
    step_s: Scalar
    sequence_s: Scalar

    def overhead_s(self) -> Scalar:
        """Return what the engine adds: launches, and the host's work per pass and per sequence."""
        return self.launch_s + self.step_s + self.sequence_s

    def sum(self, residual: Scalar) -> Sum:
        """Return the parts one after the other, rooflines at `ROOFLINE_SHARE`, and ``residual`` seconds."""
        rooflines = [part.scaled(ROOFLINE_SHARE) for part in (self.linear, self.attention)]
        return Sum([*rooflines, self.launch_s, self.step_s, self.sequence_s, residual])


class Replica(eqx.Module):
    """A transformer at a precision on a slice of chips, split by tensor and pipeline parallelism.

    KV heads are copied once a stage has more chips than there are KV heads.
    """

    transformer: Transformer
    slice: Slice
    precision: Precision
    requests: Requests
    engine: Engine
    residuals: Residuals

    def kv_shards(self) -> Scalar:
        """Return over how many chips one token's KV is spread."""
        tp = self.slice.n_chips / self.slice.stages
        return jnp.minimum(tp, self.transformer.kv_heads) * self.slice.stages

    def memory_fill(self, batch: Scalar) -> list[Scalar]:
        """Return the shares of memory that weights, the engine, and KV of ``batch`` full sequences take.

        Engines give KV ``kv_fraction`` of what weights and ``reserve_bytes`` leave, so those count in full and KV is
        divided by that fraction.
        """
        kv = self.transformer.kv_bytes_per_token(self.precision.kv_bytes) * self.requests.reserved_tokens()
        hbm = self.slice.chip.hbm_bytes
        room = hbm * self.engine.kv_fraction
        taken = self.engine.reserve_bytes / hbm
        return [self.weight_bytes_per_chip() / hbm, self._wider() / hbm, taken, batch * kv / self.kv_shards() / room]

    def most_sequences(self) -> Scalar:
        """Return how many sequences the engine runs at once: its slots, and those whose tokens fill its passes.

        In steady state each decoded token brings new / output prompt tokens along. At least two: prompts longer than
        a pass come in chunks.
        """
        engine, ratio = self.engine, self.requests.new_input_tokens() / self.requests.output_tokens
        filling = self.slice.stages * engine.max_tokens / (1.0 + ratio)
        return jnp.maximum(jnp.minimum(engine.max_batch, filling), 2.0)

    def weight_bytes_per_chip(self) -> Scalar:
        """Return bytes of weights that each chip holds, all at the precision."""
        return self.transformer.total_params() * self.precision.weight_bytes / self.slice.n_chips

    def _wider(self) -> Scalar:
        """Return bytes by which embeddings in bf16 exceed that."""
        wider = jnp.maximum(HEAD_BYTES - self.precision.weight_bytes, 0.0)
        return self.transformer.embedding_params() * wider / self.slice.n_chips

    def decode_step(self, batch: Scalar) -> Pass:
        """Return one step that gives each of ``batch`` sequences its next token."""
        model, chips, how, engine = self.transformer, self.slice, self.precision, self.engine
        context = self.requests.decode_context_tokens()
        kv = batch * context * model.kv_bytes_per_token(how.kv_bytes)
        # Each stage reads its weights for its own micro-batch: a pass through all of them reads them all, one by one.
        weights = chips.memory_s(model.params * how.weight_bytes / chips.n_chips * chips.stages)
        linear = Operation(chips.compute_s(model.linear_flops(batch), how.linear_flops_per_s), weights)
        attention = Operation(
            chips.compute_s(model.attention_flops(batch, context), how.attention_flops_per_s),
            chips.memory_s(kv / self.kv_shards()),
        )
        hops = jnp.where(chips.n_chips > chips.stages, 2.0, 0.0)
        per_sequence = engine.sequence_s + engine.boundary_sequence_s * (chips.stages - 1.0)
        launches = model.layers * (engine.layer_s + hops * engine.hop_s)
        return Pass(linear, attention, launches, chips.stages * engine.step_s, batch * per_sequence)

    def prompt_pass(self) -> Pass:
        """Return what one prompt adds to a pass: its products and attention, and launches without a recorded graph."""
        model, chips, how = self.transformer, self.slice, self.precision
        new = self.requests.new_input_tokens()
        context = self.requests.input_tokens - 0.5 * new
        kv = (new + self.requests.input_tokens) * model.kv_bytes_per_token(how.kv_bytes)
        moved = new * model.d_model * model.layers * 2.0 * HEAD_BYTES / chips.n_chips  # the residual stream, in and out
        linear = Operation(chips.compute_s(model.linear_flops(new), how.linear_flops_per_s), chips.memory_s(moved))
        attention = Operation(
            chips.compute_s(model.attention_flops(new, context), how.attention_flops_per_s),
            chips.memory_s(kv / self.kv_shards()),
        )
        return Pass(linear, attention, model.layers * self.engine.context_layer_s, 0.0, 0.0)

    def at(self, batch: Scalar) -> "OperatingPoint":
        """Return the replica decoding ``batch`` sequences at a time."""
        at, left = (self.transformer.params, batch, self.transformer.experts), self.residuals
        prompt = self.prompt_pass()
        among = Pass(prompt.linear, prompt.attention, 0.0, 0.0, 0.0)  # others may share the launches of the pass
        return OperatingPoint(
            replica=self,
            batch=batch,
            step=self.decode_step(batch).sum(left.step.seconds(*at)),
            prefill=among.sum(left.prefill.seconds(*at)),
            first=prompt.sum(left.first.seconds(*at)),
        )


class OperatingPoint(eqx.Module):
    """A replica at a batch. ``step``, ``prefill`` (per prompt) and ``first`` (beyond a step) are times."""

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
        """Return mean seconds to the first token: waiting and the prompt's own pass."""
        return [self.step, self.first]

    def seconds(self, parts: Sequence[Part]) -> Scalar:
        """Return the sum of ``parts`` in seconds."""
        return total(parts, OVERLAP)

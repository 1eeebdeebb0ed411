"""How long the work of a pass takes on one chip: calibrated kernels, op by op."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar
from hw.kernels import (
    ClosedGemm,
    Collective,
    CollectiveShape,
    Decode,
    DecodeShape,
    Gemm,
    GemmShape,
    LatentDecode,
    Moe,
    MoeShape,
    Prefill,
    PrefillShape,
    Rates,
)
from hw.kernels.latent import PUBLISHED as PUBLISHED_LATENT

from .ops import DecodeAttention, ExpertLayer, Matmul, Message, PrefillAttention, Stream, Work

_COLD = 1e9  # matrices that take turns before one is used again: a model's weights never stay in the cache
_CLOSED_TILE_ROWS = 64.0  # row tile of the convex form of experts, in the middle of 16 to 128
_Some = TypeVar("_Some")


class Format(eqx.Module):
    """A number format as one role meets it: its kernel, its peak, the bytes of an element.

    ``quantised`` says that activations are converted by a kernel of their own first.
    """

    kernel: Gemm | ClosedGemm
    flops_per_s: Scalar
    element_bytes: Scalar
    quantised: bool = eqx.field(static=True, default=False)


class Timed(eqx.Module):
    """One op's seconds in a pass (all its calls), with the FLOPs and bytes behind them, per chip.

    Of ``link_bytes``, ``scale_out_bytes`` leave the scale-up domain.
    """

    seconds: Scalar
    flops: Scalar
    hbm_bytes: Scalar
    link_bytes: Scalar
    scale_out_bytes: Scalar = 0.0


class Device(eqx.Module):
    """A chip's kernels for one choice of formats.

    ``formats`` holds one format per role of a matrix product (attention, dense, head, router, absorbed); ``experts``
    is that of routed experts, whose weights weigh ``expert_bytes`` an element. ``convex`` swaps every kernel for its
    log-convex form. ``shared_bus`` is 1 where chips talk over PCIe instead of a switch or a torus: a collective is then
    timed as a ring at the full rate of the bus, of which the engine says what share is reached. A slice of fewer than
    ``ring_chips`` of a torus has open ends, and its links carry half. ``unfused`` is 0 where activations are computed
    in the products before them and never pass through memory.
    """

    formats: dict[str, Format]
    decode: Decode
    latent: LatentDecode
    prefill: Prefill
    moe: Moe
    expert_flops_per_s: Scalar
    expert_bytes: Scalar
    collectives: dict[str, Collective]
    kv_bytes: Scalar
    bf16_flops_per_s: Scalar
    hbm_bytes_per_s: Scalar
    cores: Scalar
    cache_bytes: Scalar
    link_bytes_per_s: Scalar
    domain_chips: Scalar
    scale_out_bytes_per_s: Scalar
    scale_out_latency_s: Scalar
    shared_bus: Scalar
    ring_chips: Scalar = 1.0
    unfused: Scalar = 1.0
    convex: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(cls, numbers: Mapping[str, Any], convex: bool = False) -> "Device":
        """Return the device that `numbers.device_numbers` describes."""
        given = dict(numbers)
        gemm = ClosedGemm if convex else Gemm
        formats = {}
        for role, one in given.pop("formats").items():
            quantised = "quantised" in one
            kernel = gemm(**one["quantised" if quantised else "plain"])
            formats[role] = Format(kernel, one["flops_per_s"], one["element_bytes"], quantised)
        return cls(
            formats=formats,
            decode=Decode(**given.pop("decode")),
            latent=PUBLISHED_LATENT,
            prefill=Prefill(**given.pop("prefill")),
            moe=Moe(**given.pop("moe")),
            collectives={kind: Collective(**one) for kind, one in given.pop("collectives").items()},
            convex=convex,
            **given,
        )

    def times(self, work: Sequence[Work]) -> dict[str, list[Timed]]:
        """Return seconds of every op by name; ops of one name in several kinds of layer are listed together."""
        out: dict[str, list[Timed]] = {}
        kinds: Mapping[type, Callable[[list[Any]], list[Timed]]] = {
            Matmul: self._matmuls,
            DecodeAttention: self._decodes,
            PrefillAttention: self._prefills,
            ExpertLayer: self._expert_layers,
            Stream: self._streams,
        }
        for kind, method in kinds.items():
            some: list[Any] = [op for op in work if isinstance(op, kind)]
            for op, timed in zip(some, method(some), strict=True) if some else ():
                out.setdefault(op.name, []).append(timed)
        messages = [op for op in work if isinstance(op, Message)]
        for op, timed in zip(messages, self._messages(messages), strict=True):
            out.setdefault(op.name, []).append(timed)
        return out

    def rates(self, flops_per_s: Scalar) -> Rates:
        """Return what a kernel sees of the chip at a peak of ``flops_per_s``."""
        return Rates(flops_per_s, self.hbm_bytes_per_s, self.cores, self.cache_bytes, self.link_bytes_per_s)

    def _matmuls(self, ops: list[Matmul]) -> list[Timed]:
        out: dict[int, Timed] = {}
        for quantised in (False, True):
            some = [i for i, op in enumerate(ops) if self.formats[op.role].quantised == quantised]
            if not some:
                continue
            formats = [self.formats[ops[i].role] for i in some]
            shapes = _stacked(
                [GemmShape(ops[i].rows, ops[i].n, ops[i].k, f.element_bytes, _COLD, quantised)
                 for i, f in zip(some, formats, strict=True)]
            )  # fmt: skip
            kernels = _stacked([f.kernel for f in formats])
            rates = _stacked([self.rates(f.flops_per_s) for f in formats])
            seconds = jax.vmap(lambda kernel, rate, shape: kernel.seconds(rate, shape))(kernels, rates, shapes)
            for j, i in enumerate(some):
                one = GemmShape(ops[i].rows, ops[i].n, ops[i].k, formats[j].element_bytes)
                moved = one.read_bytes() + one.written_bytes()
                out[i] = _times(ops[i].count, seconds[j], one.flops(), moved)
        return [out[i] for i in range(len(ops))]

    def _decodes(self, ops: list[DecodeAttention]) -> list[Timed]:
        rates = self.rates(self.bf16_flops_per_s)
        grouped = [op for op in ops if not op.latent]
        latent = [op for op in ops if op.latent]
        seconds: dict[int, Array] = {}
        if grouped:
            shapes = [
                DecodeShape(
                    op.batch, op.heads, op.kv_heads, op.key_dim, op.value_dim,
                    (op.key_dim + op.value_dim) * self.kv_bytes, op.tokens, op.window,
                )
                for op in grouped
            ]  # fmt: skip
            form = self.decode.convex_seconds if self.convex else self.decode.seconds
            seconds |= _each(grouped, form(rates, _stacked(shapes)))
        if latent:
            shapes = [self._latent_shape(op) for op in latent]
            seconds |= _each(latent, self.latent.seconds(rates, _stacked(shapes)))
        out = []
        for op in ops:
            stored = op.key_dim if op.latent else op.key_dim + op.value_dim
            seen = jnp.minimum(op.tokens, op.window)
            flops = 2.0 * op.batch * op.heads * (op.key_dim + op.value_dim) * seen
            out.append(_times(op.count, seconds[id(op)], flops, op.batch * op.kv_heads * seen * stored * self.kv_bytes))
        return out

    def _latent_shape(self, op: DecodeAttention) -> DecodeShape:
        stored = op.key_dim * self.kv_bytes
        return DecodeShape(op.batch, op.heads, 1.0, op.key_dim, op.value_dim, stored, op.tokens, jnp.inf)

    def _prefills(self, ops: list[PrefillAttention]) -> list[Timed]:
        rates = self.rates(self.bf16_flops_per_s)
        shapes = [
            PrefillShape(
                op.prompts, op.heads, op.kv_heads, op.key_dim, op.value_dim, op.query_tokens, op.kv_tokens, op.window,
                self.kv_bytes,
            )
            for op in ops
        ]  # fmt: skip
        form = self.prefill.convex_seconds if self.convex else self.prefill.seconds
        seconds = _each(ops, form(rates, _stacked(shapes)))
        out = []
        for op in ops:
            seen = jnp.minimum(op.kv_tokens - 0.5 * op.query_tokens, op.window)
            width = op.key_dim + op.value_dim
            flops = 2.0 * op.prompts * op.heads * width * op.query_tokens * seen
            moved = op.prompts * width * (2.0 * op.heads * op.query_tokens + op.kv_heads * op.kv_tokens * self.kv_bytes)
            out.append(_times(op.count, seconds[id(op)], flops, moved))
        return out

    def _expert_layers(self, ops: list[ExpertLayer]) -> list[Timed]:
        rates = self.rates(self.expert_flops_per_s)
        shapes = [
            MoeShape(
                op.tokens, op.hidden, op.block.width, op.block.topk, op.block.experts, op.tp, op.ep, 0.0,
                op.block.matrices, self.expert_bytes,
            )
            for op in ops
        ]  # fmt: skip
        stacked = _stacked(shapes)
        if self.convex:
            seconds = _each(ops, self.moe.closed_seconds(rates, stacked, _CLOSED_TILE_ROWS))
        else:
            seconds = _each(ops, self.moe.seconds(rates, stacked))
        out = []
        for op in ops:
            one = op.block.matrices * op.hidden * op.block.width
            flops = 2.0 * op.tokens * op.block.topk * one / (op.tp * op.ep)
            touched = 1.0 - (1.0 - op.block.topk / op.block.experts) ** op.tokens
            moved = touched * op.block.experts * one * self.expert_bytes / (op.tp * op.ep)
            out.append(_times(op.count, seconds[id(op)], flops, moved))
        return out

    def _streams(self, ops: list[Stream]) -> list[Timed]:
        counts = [self.unfused * op.count if op.name == "activations" else op.count for op in ops]
        return [
            _times(count, op.moved_bytes / self.hbm_bytes_per_s, 0.0, op.moved_bytes)
            for count, op in zip(counts, ops, strict=True)
        ]

    def _messages(self, ops: list[Message]) -> list[Timed]:
        out = []
        for op in ops:
            one = self._message(op)
            if op.name in _TWO_WAYS:
                # Engines gather and scatter tokens within a server, and exchange them one to one beyond it.
                exchanged = op.devices > _SERVER_CHIPS
                taken = jnp.where(exchanged == (op.kind == "alltoall"), 1.0, 0.0)
                one = Timed(one.seconds * taken, 0.0, 0.0, one.link_bytes * taken, one.scale_out_bytes * taken)
            out.append(one)
        return out

    def _message(self, op: Message) -> Timed:
        """Return a collective's time: inside the scale-up domain, and between domains on each chip's share."""
        inside = jnp.clip(self.domain_chips / op.stride, 1.0, op.devices)
        domains = op.devices / inside
        if op.kind == "send":
            # Each member hands on to the next; one hand-over per domain, which holds whole members, leaves it.
            far = op.message_bytes / self.scale_out_bytes_per_s + self.scale_out_latency_s
            leaving = jnp.where(domains > 1, 1.0 / jnp.floor(inside), 0.0)
            each = (1.0 - leaving) * op.message_bytes / self.link_bytes_per_s + leaving * far
            return Timed(op.count * each, 0.0, 0.0, op.count * op.message_bytes)
        passes = 2.0 if op.kind == "all_reduce" else 1.0
        shape = CollectiveShape(op.message_bytes, jnp.maximum(inside, 2.0), passes)
        closed = jnp.where(jnp.maximum(op.devices, op.slice_chips) < self.ring_chips, 0.5, 1.0)
        link = self.link_bytes_per_s * closed * op.link_share
        rates = Rates(self.bf16_flops_per_s, self.hbm_bytes_per_s, self.cores, self.cache_bytes, link)
        switched = self.collectives[op.kind].seconds(rates, shape)
        ring = passes * (inside - 1.0) / inside * op.message_bytes / self.link_bytes_per_s
        near = jnp.where(self.shared_bus > 0, ring, switched)
        near = jnp.where(inside > 1, near, 0.0)
        # Between domains a message is cut into one share per chip inside; an all-to-all goes out nearly whole.
        share = _sent_once(op, domains) if op.kind == "alltoall" else 1.0 / inside
        out = passes * (domains - 1.0) / domains * op.message_bytes * share
        far = jnp.where(domains > 1, out / self.scale_out_bytes_per_s + self.scale_out_latency_s, 0.0)
        carried = passes * (op.devices - 1.0) / op.devices * op.message_bytes
        return Timed(op.count * (near + far), 0.0, 0.0, op.count * carried, op.count * out)


# TensorRT-LLM, vLLM and SGLang take all-to-all kernels (DeepEP, MNNVL) for expert parallelism across servers
_SERVER_CHIPS = 8
_TWO_WAYS = ("gather tokens", "scatter sums", "dispatch", "combine")


def _sent_once(op: Message, domains: Scalar) -> Scalar:
    """Return what domains are sent over what chips are: all, or one copy where ``op`` says so (DeepEP's normal kernels,
    github.com/deepseek-ai/DeepEP, README, 2025-02), of draws that hit as many at random."""
    chips, groups = jnp.maximum(op.devices, 2.0), jnp.maximum(domains, 1.0 + 1e-9)
    hit = groups * (1.0 - (1.0 - 1.0 / groups) ** op.draws)
    copies = chips * (1.0 - (1.0 - 1.0 / chips) ** op.draws)
    return jnp.where(op.draws > 0, hit / jnp.maximum(copies, 1e-9), 1.0)


def _times(count: Scalar, seconds: Scalar, flops: Scalar, moved: Scalar) -> Timed:
    return Timed(count * seconds, count * flops, count * moved, 0.0)


def _each(ops: Sequence[Any], seconds: Array) -> dict[int, Array]:
    return {id(op): seconds[i] for i, op in enumerate(ops)}


def _stacked(modules: Sequence[_Some]) -> _Some:
    """Return one module whose leaves have a leading axis over ``modules``, broadcast to one shape beside it."""

    def stack(*leaves: Any) -> Array:
        return jnp.stack(jnp.broadcast_arrays(*(jnp.asarray(leaf, float) for leaf in leaves)))

    stacked = jax.tree.map(stack, *modules)
    leaves, tree = jax.tree.flatten(stacked)
    width = max(leaf.ndim for leaf in leaves)
    padded = [leaf.reshape(leaf.shape[:1] + (1,) * (width - leaf.ndim) + leaf.shape[1:]) for leaf in leaves]
    return jax.tree.unflatten(tree, padded)

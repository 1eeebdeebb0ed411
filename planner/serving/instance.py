"""A model on a replica of chips under an engine: the time of a pass, and what fits into memory."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from configs.architectures import AttentionFacts, LatentFacts, RecurrentFacts
from hw import Scalar

from ..model.decoder import Decoder
from .device import Device, Timed
from .engine import Counts, Engine, Tally
from .layout import Layout
from .names import AS_TIMED, LINKS, RATIOS
from .ops import ExpertLayer, Load, Matmul, Message
from .work import ACTIVATION_BYTES, STATE_BYTES, Pass

_SHARED_WEIGHTS = "unpacked keys, values"  # the same matrices as "absorbed keys, values"


class Memory(eqx.Module):
    """Bytes of the busiest chip: weights, one sequence of full length, what KV may fill, and what is reserved."""

    weights_bytes: Array
    sequence_bytes: Array
    kv_room_bytes: Array
    reserve_bytes: Scalar


class Step(eqx.Module):
    """One pass of one pipeline stage: every kernel's time, FLOPs and bytes, and what the engine adds to."""

    times: dict[str, list[Timed]]
    counts: Counts
    load: Load
    stages: Scalar

    def seconds(self, engine: Engine) -> dict[str, Scalar]:
        """Return the seconds of a pass through all stages, one after the other, by op."""
        stage = engine.seconds(self.times, self.counts, self.load)
        return {name: self.stages * seconds for name, seconds in stage.items()}

    def tally(self) -> Tally:
        """Return the pass through all stages in the terms of an engine's parameters."""

        def taken(*names: str) -> Scalar:
            return sum((t.seconds for name in names for t in self.times.get(name, ())), jnp.zeros(()))

        links = taken(*LINKS)
        shared = self.counts.shared_bus > 0
        others = [n for n in self.times if n not in (*LINKS, *RATIOS, *AS_TIMED, "norms")]
        with_prompts = jnp.where(self.load.prompts > 0, 1.0, 0.0)
        own = taken("pipeline")
        out = Tally(
            gemm_s=taken(*others),
            decode_s=taken("decode attention"),
            prefill_s=taken("prefill attention"),
            expert_s=taken("experts"),
            switched_s=jnp.where(shared, 0.0, links - own),
            bus_s=jnp.where(shared, links, 0.0),
            stream_s=taken("norms"),
            timed_s=taken(*AS_TIMED) + jnp.where(shared, 0.0, own),
            layers=self.counts.layers,
            context_layers=self.counts.layers * with_prompts,
            expert_layers=self.counts.expert_layers,
            expert_pairs=self.counts.expert_pairs,
            hops=self.counts.hops,
            passes=1.0,
            sequences=self.counts.sequences,
            handovers=self.counts.sequences * self.counts.boundaries,
        )
        shape = jnp.shape(self.load.decoding)
        return jax.tree.map(lambda x: jnp.broadcast_to(self.stages * jnp.asarray(x, float), shape), out)


class Instance(eqx.Module):
    """``model`` split by ``layout`` over chips that ``device`` times and ``engine`` drives."""

    model: Decoder
    layout: Layout
    device: Device
    engine: Engine
    hbm_bytes: Scalar
    dispatch_bytes: Scalar = ACTIVATION_BYTES

    def step(self, load: Load) -> Step:
        """Return one pass of ``load``, which is what one stage holds at a time: of B sequences in flight, B / pp."""
        layout = self.layout
        work = Pass(self.model, layout, load, self.dispatch_bytes).work()
        hops = sum((op.count for op in work if isinstance(op, Message) and op.kind == "all_reduce"), 0.0)
        experts = sum((op.count for op in work if isinstance(op, ExpertLayer)), 0.0)
        rows = load.tokens() / layout.dp
        pairs = sum((op.count * op.block.topk * rows for op in work if isinstance(op, ExpertLayer)), 0.0)
        counts = Counts(
            layers=self.model.layer_count() / layout.pp,
            expert_layers=experts,
            expert_pairs=pairs,
            hops=hops,
            sequences=load.decoding / layout.dp,
            boundaries=layout.pp - 1.0,
            shared_bus=self.device.shared_bus,
        )
        return Step(self.device.times(work), counts, load, layout.pp)

    def memory(self, tokens: Scalar) -> Memory:
        """Return the budget of the busiest chip; a sequence holds ``tokens`` of context, windows their own width."""
        weights, reserve = self.weight_bytes(), self.engine.reserve_bytes
        room = jnp.maximum(self.hbm_bytes - weights - reserve, 0.0) * self.engine.kv_fraction
        return Memory(weights, self.sequence_bytes(tokens), room, reserve)

    def weight_bytes(self) -> Array:
        """Return bytes of weights on the busiest chip; the first and the last stage share the two embeddings."""
        one = Load(1.0, 1.0, 0.0, 1.0, 0.0)
        total = jnp.zeros(())
        for op in Pass(self.model, self.layout, one).work():
            if isinstance(op, Matmul) and op.role != "head" and op.name != _SHARED_WEIGHTS:
                total = total + op.count * op.n * op.k * self.device.formats[op.role].element_bytes
            if isinstance(op, ExpertLayer):
                held = op.block.matrices * op.hidden * op.block.width * op.block.experts / (op.tp * op.ep)
                total = total + op.count * held * self.device.expert_bytes
        copies = jnp.where(self.layout.pp > 1, 1.0, self.model.embedding_copies)
        table = self.model.vocab * self.model.d_model / self.layout.tp
        return total + copies * table * self.device.formats["head"].element_bytes

    def sequence_bytes(self, tokens: Scalar) -> Array:
        """Return bytes that one sequence of ``tokens`` holds on each chip of its data-parallel copy."""
        total = jnp.zeros(())
        for layer in self.model.layers:
            x, count = layer.mixer, layer.count / self.layout.pp
            match x:
                case AttentionFacts():
                    width = self.layout.held(x.kv_heads) * (x.key_dim + x.value_dim) / self.layout.sharing(x.kv_heads)
                    total = total + count * width * jnp.minimum(tokens, x.window_tokens) * self.device.kv_bytes
                case LatentFacts():
                    width = x.latent_dim + x.rope_dim + x.index_dim
                    total = total + count * width * tokens * self.device.kv_bytes
                case RecurrentFacts():
                    total = total + count * x.state_elements * STATE_BYTES / self.layout.tp
        return total

    def limits(self, tokens: Scalar, ratio: Scalar) -> dict[str, Scalar]:
        """Return how many sequences can run at once by memory, by the engine's slots and by its token budget.

        ``tokens`` is what a sequence holds at its end. ``ratio`` is new prompt tokens over output tokens: in steady
        state each decoded token brings that many along, and both count towards the tokens of a pass.
        """
        memory = self.memory(tokens)
        copies = self.layout.dp
        return {
            "memory": copies * memory.kv_room_bytes / memory.sequence_bytes,
            "slots": copies * jnp.asarray(self.engine.max_batch, float),
            "tokens": copies * self.layout.pp * self.engine.max_tokens / (1.0 + ratio),
        }

    def max_batch(self, tokens: Scalar, ratio: Scalar) -> Array:
        """Return the least of `limits`."""
        limits = self.limits(tokens, ratio)
        return jnp.minimum(jnp.minimum(limits["memory"], limits["slots"]), limits["tokens"])

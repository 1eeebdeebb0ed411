"""What serving software adds to the kernels: its own kernels' speed, launches, host work, and its limits."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from hw import Scalar

from .device import Timed
from .names import AS_TIMED, LINKS, RATIOS
from .ops import Load


class Engine(eqx.Module):
    """One engine's profile, fitted to served throughput and latency.

    Ratios are the time of this engine's kernels over that of the timed ones (`configs/kernels`): ``gemm_ratio``,
    ``decode_ratio``, ``prefill_ratio``, ``expert_ratio``, ``collective_ratio``. ``stream_passes`` counts reads and
    writes of the residual per layer. Per layer and pass ``layer_s``, and ``context_layer_s`` more where prompts are in
    the pass (no recorded graph is replayed); per layer of experts ``expert_layer_s`` and, per token and expert chosen,
    ``expert_pair_s`` for routing, sorting and gathering; ``hop_s`` per all-reduce; ``step_s`` and ``sequence_s`` per
    pass and per sequence in it, on the host; ``boundary_sequence_s`` per sequence, at every stage for each boundary of
    the pipeline, for handing its state on is not hidden behind the device. Where chips share a PCIe bus, collectives
    run at ``bus_fraction`` of its rate.

    Of the memory that weights and ``reserve_bytes`` leave, KV gets ``kv_fraction``. At most ``max_batch`` sequences
    and ``max_tokens`` tokens share a pass of one data-parallel copy.
    """

    gemm_ratio: Scalar
    decode_ratio: Scalar
    prefill_ratio: Scalar
    expert_ratio: Scalar
    collective_ratio: Scalar
    bus_fraction: Scalar
    stream_passes: Scalar
    layer_s: Scalar
    context_layer_s: Scalar
    expert_layer_s: Scalar
    expert_pair_s: Scalar
    hop_s: Scalar
    step_s: Scalar
    sequence_s: Scalar
    boundary_sequence_s: Scalar
    kv_fraction: Scalar
    reserve_bytes: Scalar
    max_batch: Scalar
    max_tokens: Scalar

    def ratio(self, name: str, counts: "Counts") -> Scalar:
        """Return what the kernel time of the op ``name`` is multiplied by."""
        if name in LINKS:
            own = 1.0 if name == "pipeline" else self.collective_ratio
            return jnp.where(counts.shared_bus > 0, 1.0 / self.bus_fraction, own)
        if name == "norms":
            return self.stream_passes
        if name in AS_TIMED:
            return 1.0
        return getattr(self, RATIOS.get(name, "gemm_ratio"))

    def seconds(self, times: dict[str, list[Timed]], counts: "Counts", load: Load) -> dict[str, Scalar]:
        """Return the seconds of one pass of one stage by op, and as "launches" and "host" what the engine adds."""
        out = {name: self.ratio(name, counts) * sum(t.seconds for t in timed) for name, timed in times.items()}
        with_prompts = jnp.where(load.prompts > 0, 1.0, 0.0)
        per_layer = self.layer_s + self.context_layer_s * with_prompts
        routing = counts.expert_layers * self.expert_layer_s + counts.expert_pairs * self.expert_pair_s
        launches = counts.layers * per_layer + routing + counts.hops * self.hop_s
        per_sequence = self.sequence_s + self.boundary_sequence_s * counts.boundaries
        return out | {"launches": launches, "host": self.step_s + per_sequence * counts.sequences}

    def total(self, tally: "Tally") -> Array:
        """Return the seconds of passes whose work is ``tally``: what `seconds` adds up to."""
        return jnp.asarray(sum(self.parts(tally).values()))

    def parts(self, tally: "Tally") -> dict[str, Scalar]:
        """Return the seconds of passes whose work is ``tally`` by what takes them."""
        routing = self.expert_layer_s * tally.expert_layers + self.expert_pair_s * tally.expert_pairs
        per_layer = self.layer_s * tally.layers + self.context_layer_s * tally.context_layers
        links = self.collective_ratio * tally.switched_s + tally.bus_s / self.bus_fraction
        per_sequence = self.sequence_s * tally.sequences + self.boundary_sequence_s * tally.handovers
        return {
            "products": self.gemm_ratio * tally.gemm_s,
            "attention": self.decode_ratio * tally.decode_s + self.prefill_ratio * tally.prefill_s,
            "experts": self.expert_ratio * tally.expert_s + routing,
            "links": links + self.hop_s * tally.hops,
            "streams": self.stream_passes * tally.stream_s + tally.timed_s,
            "launches": per_layer,
            "host": self.step_s * tally.passes + per_sequence,
        }


class Tally(eqx.Module):
    """A pass as an engine's parameters meet it: kernel seconds by family, and how often each cost falls due.

    ``timed_s`` are seconds that no parameter touches; the last nine are counts.
    """

    gemm_s: Scalar
    decode_s: Scalar
    prefill_s: Scalar
    expert_s: Scalar
    switched_s: Scalar
    bus_s: Scalar
    stream_s: Scalar
    timed_s: Scalar
    layers: Scalar
    context_layers: Scalar
    expert_layers: Scalar
    expert_pairs: Scalar
    hops: Scalar
    passes: Scalar
    sequences: Scalar
    handovers: Scalar


class Counts(eqx.Module):
    """What a pass of one stage has on its busiest chip: layers, layers of experts, collectives, sequences.

    ``expert_pairs`` counts the choices of an expert by a token, over all layers; ``boundaries`` are those between the
    stages of the whole pipeline.

    ``shared_bus`` says that messages cross the host's PCIe.
    """

    layers: Scalar
    expert_layers: Scalar
    expert_pairs: Scalar
    hops: Scalar
    sequences: Scalar
    boundaries: Scalar
    shared_bus: Scalar

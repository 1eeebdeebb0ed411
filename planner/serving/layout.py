"""How a model is spread over the chips of one replica."""

import equinox as eqx
import jax.numpy as jnp

from hw import Scalar


class Layout(eqx.Module):
    """Tensor (``tp``), pipeline (``pp``), data (``dp``) and expert (``ep``) parallelism of one replica.

    A stage of tp x dp chips runs 1/pp of the layers. Attention and dense feed-forward blocks are split tp ways and
    copied dp times, each copy with its own sequences and KV cache (attention-DP). Experts are spread over all chips
    of a stage: ``ep`` groups that hold whole experts, each split tp dp / ep ways. KV heads are copied where tp
    exceeds their number. Fields may be arrays, one entry per replica considered.

    Two options, both of Pope et al. 2022 (arXiv 2211.05102, sections 3.2.2 and 3.3), both off where None.
    ``shares_batch`` (1): chips that would hold copies of a KV head share out the sequences instead, at two all-to-alls
    per layer. ``width_tp``: 2-D weight-stationary layout of dense blocks on a torus; of the tp chips, over how many
    the model's width is split, the heads and hidden features over the rest. Collectives then run within either.
    """

    tp: Scalar
    pp: Scalar
    dp: Scalar
    ep: Scalar
    width_tp: Scalar | None = None
    shares_batch: Scalar | None = None

    def chips(self) -> Scalar:
        """Return the chips of the replica."""
        return self.tp * self.pp * self.dp

    def stage_chips(self) -> Scalar:
        """Return the chips of one pipeline stage."""
        return self.tp * self.dp

    def expert_tp(self) -> Scalar:
        """Return over how many chips one expert is split."""
        return self.stage_chips() / self.ep

    def sharing(self, kv_heads: Scalar) -> Scalar:
        """Return over how many chips the sequences that use one KV head are spread."""
        return jnp.maximum(self.tp / kv_heads, 1.0) if self.shares_batch is not None else 1.0

    def held(self, kv_heads: Scalar) -> Scalar:
        """Return the KV heads that one chip holds, at least one."""
        return jnp.maximum(kv_heads / self.tp, 1.0)

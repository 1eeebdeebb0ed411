"""The operations of one forward pass: shapes only, as each chip meets them.

How long each takes is `planner.serving.device`, what the engine adds `planner.serving.engine`.
"""

from dataclasses import dataclass

import equinox as eqx

from configs.architectures import ExpertsFacts
from hw import Scalar


class Load(eqx.Module):
    """Tokens of one pass, counted over the data-parallel copies of a stage; fields may be arrays of one shape.

    ``decoding`` sequences take one token each (``queries`` tokens each where drafts are verified) at
    ``context_tokens`` of cached context; ``prompts`` prompts enter with ``prompt_tokens`` new tokens each on top of
    ``prefix_tokens`` cached ones. Either kind may be zero. ``drafts`` tokens per sequence are guessed beforehand by a
    layer of multi-token prediction, one after the other; None where nothing is guessed.
    """

    decoding: Scalar
    context_tokens: Scalar
    prompts: Scalar
    prompt_tokens: Scalar
    prefix_tokens: Scalar
    queries: Scalar = 1.0
    drafts: Scalar | None = None

    def tokens(self) -> Scalar:
        """Return all tokens of the pass."""
        return self.decoding * self.queries + self.prompts * self.prompt_tokens


@dataclass
class Matmul:
    """``count`` products of [rows, k] with weights [k, n]; ``role`` decides the number format."""

    name: str
    role: str
    count: Scalar
    rows: Scalar
    n: Scalar
    k: Scalar


@dataclass
class DecodeAttention:
    """``count`` decode attention calls; ``latent`` ones read one shared latent of key_dim, value_dim of it values."""

    name: str
    count: Scalar
    batch: Scalar
    heads: Scalar
    kv_heads: Scalar
    key_dim: Scalar
    value_dim: Scalar
    tokens: Scalar
    window: Scalar
    latent: bool = False


@dataclass
class PrefillAttention:
    """``count`` prefill attention calls of ``prompts`` prompts each."""

    name: str
    count: Scalar
    prompts: Scalar
    heads: Scalar
    kv_heads: Scalar
    key_dim: Scalar
    value_dim: Scalar
    query_tokens: Scalar
    kv_tokens: Scalar
    window: Scalar


@dataclass
class ExpertLayer:
    """``count`` layers of routed experts over all tokens of a stage."""

    name: str
    count: Scalar
    tokens: Scalar
    hidden: Scalar
    block: ExpertsFacts
    tp: Scalar
    ep: Scalar


@dataclass
class Message:
    """``count`` collectives of ``message_bytes``, counted as nccl-tests does, over ``devices`` chips.

    ``kind`` is all_reduce, all_gather, reduce_scatter, alltoall or send. Members are every ``stride`` chips apart, so
    that fewer of them share a scale-up domain. ``link_share`` is the share of each chip's
    links that the collective may use (some axes of a torus), ``slice_chips`` the size of the slice that these chips are
    part of, 0 where they are all of it. ``draws`` above 0 says that each row goes to so many experts drawn among the
    chips of an all-to-all, and to another scale-up domain once, to be handed on inside.
    """

    name: str
    kind: str
    count: Scalar
    message_bytes: Scalar
    devices: Scalar
    link_share: Scalar = 1.0
    slice_chips: Scalar = 0.0
    stride: Scalar = 1.0
    draws: Scalar = 0.0


@dataclass
class Stream:
    """``count`` passes over ``moved_bytes`` of memory with little arithmetic: norms, activations, states."""

    name: str
    count: Scalar
    moved_bytes: Scalar


Work = Matmul | DecodeAttention | PrefillAttention | ExpertLayer | Message | Stream

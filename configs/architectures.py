"""The parts of a language model that decide what it weighs, computes and caches: layer by kind of layer."""

from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True)
class AttentionFacts:
    """Grouped-query attention; ``key_dim`` and ``value_dim`` are features per head.

    ``window_tokens`` is how far back a token sees: infinite, or the width of a sliding window or of a chunk.
    ``gate_width`` is the features of a gate on the output, zero where there is none.
    """

    heads: float
    kv_heads: float
    key_dim: float
    value_dim: float
    window_tokens: float = inf
    gate_width: float = 0.0


@dataclass(frozen=True)
class LatentFacts:
    """Multi-head latent attention: keys and values of all heads are unpacked from ``latent_dim`` numbers per token.

    ``query_rank`` is zero where queries are projected at full rank; ``rope_dim`` further numbers per token carry the
    position. The ``index_`` fields describe a sparse indexer that picks the ``index_topk`` tokens to attend to, all
    zero where there is none. ``gate_width`` is the features of a gate on the output, zero where there is none.
    """

    heads: float
    query_rank: float
    latent_dim: float
    nope_dim: float
    rope_dim: float
    value_dim: float
    index_heads: float = 0.0
    index_dim: float = 0.0
    index_topk: float = 0.0
    gate_width: float = 0.0


@dataclass(frozen=True)
class RecurrentFacts:
    """Mamba-2, gated delta rule or lightning attention: a state of fixed size instead of a cache.

    ``in_width`` is the features out of all input projections together, ``out_width`` those into the output
    projection, ``state_elements`` the numbers kept per sequence and layer, past inputs of a convolution included.
    """

    in_width: float
    out_width: float
    state_elements: float


@dataclass(frozen=True)
class DenseFacts:
    """A feed-forward block of ``matrices`` matrices (3 gated, 2 plain), ``width`` features wide."""

    width: float
    matrices: float = 3.0


@dataclass(frozen=True)
class ExpertsFacts:
    """Routed experts, ``topk`` of ``experts`` per token, each ``width`` features wide.

    ``shared_width`` is the hidden width of all experts that every token visits, together. ``latent_dim`` is the
    width that routed experts work in where tokens are projected down to it and back, zero where they are not.
    """

    experts: float
    topk: float
    width: float
    shared_width: float = 0.0
    matrices: float = 3.0
    latent_dim: float = 0.0


Mixer = AttentionFacts | LatentFacts | RecurrentFacts
Feedforward = DenseFacts | ExpertsFacts


@dataclass(frozen=True)
class LayerFacts:
    """``count`` layers of one kind; either half may be absent."""

    count: float
    mixer: Mixer | None
    feedforward: Feedforward | None


@dataclass(frozen=True)
class ModelFacts:
    """One model. ``params`` and ``active_params`` are what its publisher counts, or else what its shape counts to.

    ``weights`` names the number format of the published weights where it is not bf16. ``parallel_blocks`` says that
    attention and feed-forward read the same input; ``mtp_layers`` counts multi-token-prediction layers beside the
    model, which no count here includes. ``tables`` keeps the file as read, with the source of each fact.
    """

    id: str
    name: str
    params: float
    active_params: float
    d_model: float
    vocab: float
    tied_embeddings: bool
    parallel_blocks: bool
    mtp_layers: float
    layers: tuple[LayerFacts, ...]
    weights: str | None
    aliases: tuple[str, ...]
    tables: dict[str, Any]


def count(facts: ModelFacts) -> tuple[float, float]:
    """Return (all parameters, those a token passes through), embeddings in both, norms and biases in neither."""
    total = active = embeddings(facts)
    for layer in facts.layers:
        mixer = 0.0 if layer.mixer is None else _mixer_params(layer.mixer, facts.d_model)
        whole, used = _feedforward_params(layer.feedforward, facts.d_model)
        total += layer.count * (mixer + whole)
        active += layer.count * (mixer + used)
    return total, active


def embeddings(facts: ModelFacts) -> float:
    """Return the parameters of the token embeddings, in and out; tied ones count once."""
    return (1 if facts.tied_embeddings else 2) * facts.vocab * facts.d_model


def kv_elements_per_token(facts: ModelFacts) -> float:
    """Return the numbers cached per token of context while every window still holds it."""
    return sum(layer.count * _cached(layer.mixer) for layer in facts.layers)


def kv_elements(facts: ModelFacts, context_tokens: float) -> float:
    """Return the numbers cached for one sequence of ``context_tokens``: a window keeps only its last tokens."""
    held = 0.0
    for layer in facts.layers:
        window = layer.mixer.window_tokens if isinstance(layer.mixer, AttentionFacts) else inf
        held += layer.count * _cached(layer.mixer) * min(context_tokens, window)
    return held


def state_elements(facts: ModelFacts) -> float:
    """Return the numbers that recurrent layers keep for one sequence, however long."""
    return sum(x.count * x.mixer.state_elements for x in facts.layers if isinstance(x.mixer, RecurrentFacts))


def _cached(mixer: Mixer | None) -> float:
    match mixer:
        case AttentionFacts():
            return mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
        case LatentFacts():
            return mixer.latent_dim + mixer.rope_dim + mixer.index_dim
        case _:
            return 0.0


def _mixer_params(mixer: Mixer, d_model: float) -> float:
    match mixer:
        case AttentionFacts():
            taken = mixer.heads * mixer.key_dim + mixer.kv_heads * (mixer.key_dim + mixer.value_dim) + mixer.gate_width
            return d_model * (taken + mixer.heads * mixer.value_dim)
        case LatentFacts():
            query_dim = mixer.nope_dim + mixer.rope_dim
            source = mixer.query_rank or d_model  # what queries and the indexer's queries are projected from
            queries = d_model * mixer.query_rank + source * mixer.heads * query_dim
            keys = d_model * (mixer.latent_dim + mixer.rope_dim)
            unpacked = mixer.latent_dim * mixer.heads * (mixer.nope_dim + mixer.value_dim)
            index = source * mixer.index_heads * mixer.index_dim + d_model * (mixer.index_dim + mixer.index_heads)
            return queries + keys + unpacked + index + d_model * (mixer.heads * mixer.value_dim + mixer.gate_width)
        case RecurrentFacts():
            return d_model * (mixer.in_width + mixer.out_width)


def _feedforward_params(block: Feedforward | None, d_model: float) -> tuple[float, float]:
    match block:
        case DenseFacts():
            dense = block.matrices * d_model * block.width
            return dense, dense
        case ExpertsFacts():
            always = block.matrices * d_model * block.shared_width + d_model * (block.experts + 2 * block.latent_dim)
            one = block.matrices * (block.latent_dim or d_model) * block.width
            return always + block.experts * one, always + block.topk * one
        case _:
            return 0.0, 0.0

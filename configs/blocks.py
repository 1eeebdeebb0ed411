"""Blocks of a layer as fields of a Hugging Face config.json describe them, and which layers they stand in."""

from collections.abc import Callable
from math import inf

from .architectures import AttentionFacts, DenseFacts, ExpertsFacts, LatentFacts, RecurrentFacts
from .json_fields import Fields

WIDTH = ("hidden_size", "d_model", "n_embd", "n_embed")
HEADS = ("num_attention_heads", "n_heads", "n_head")
EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
TOPK = ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts", "moe_top_k")


def attention(config: Fields, window: float = inf, gated: bool = False) -> AttentionFacts:
    """Return grouped-query attention; a window no shorter than the longest context hides nothing and is left out."""
    heads = config.whole(*HEADS, high=10_000)
    kv_heads = config.whole("num_key_value_heads", "num_kv_heads", default=heads, high=10_000)
    if kv_heads > heads:
        config.refuse("num_key_value_heads", f"= {kv_heads:g} must not exceed the {heads:g} query heads")
    head_dim = config.whole("head_dim", "attention_head_dim", default=0.0, low=0) or even_share(config, heads)
    if window >= config.whole("max_position_embeddings", default=inf, high=10**12):
        window = inf  # it hides nothing
    return AttentionFacts(heads, kv_heads, head_dim, head_dim, window, heads * head_dim if gated else 0.0)


def even_share(config: Fields, heads: float) -> float:
    """Return the features per head where the file gives none: the model's width over the heads."""
    width = config.whole(*WIDTH)
    if width % heads:
        config.refuse("head_dim", f"is missing, and {heads:g} heads do not divide the width {width:g}")
    return width / heads


def latent(config: Fields) -> LatentFacts:
    """Return DeepSeek's latent attention, with an indexer where ``index_topk`` is given."""
    index = bool(config.whole("index_topk", default=0.0, low=0))
    return LatentFacts(
        heads=config.whole(*HEADS, high=10_000),
        query_rank=config.whole("q_lora_rank", default=0.0, low=0),
        latent_dim=config.whole("kv_lora_rank"),
        nope_dim=config.whole("qk_nope_head_dim"),
        rope_dim=config.whole("qk_rope_head_dim", low=0),
        value_dim=config.whole("v_head_dim"),
        index_heads=config.whole("index_n_heads") if index else 0.0,
        index_dim=config.whole("index_head_dim") if index else 0.0,
        index_topk=config.whole("index_topk") if index else 0.0,
    )


def delta_rule(config: Fields) -> RecurrentFacts:
    """Qwen3-Next's gated DeltaNet: queries, keys, values and a gate, and two scalars per value head."""
    key_heads, value_heads = config.whole("linear_num_key_heads"), config.whole("linear_num_value_heads")
    key_dim, value_dim = config.whole("linear_key_head_dim"), config.whole("linear_value_head_dim")
    keys, values = key_heads * key_dim, value_heads * value_dim
    past = config.whole("linear_conv_kernel_dim") - 1
    state = value_heads * key_dim * value_dim + (2 * keys + values) * past
    return RecurrentFacts(2 * keys + 2 * values + 2 * value_heads, values, state)


def mamba(config: Fields) -> RecurrentFacts:
    """Return Mamba-2: a gate, what is convolved, and a time step per head."""
    heads, head_dim = config.whole("mamba_num_heads"), config.whole("mamba_head_dim")
    inner, state = heads * head_dim, config.whole("ssm_state_size")
    convolved = inner + 2 * config.whole("n_groups") * state
    past = config.whole("conv_kernel", default=4.0) - 1
    return RecurrentFacts(inner + convolved + heads, inner, inner * state + convolved * past)


def lightning(config: Fields) -> RecurrentFacts:
    """Lightning attention: queries, keys, values and a gate; a square state per head."""
    heads, head_dim = config.whole(*HEADS, high=10_000), config.whole("head_dim")
    return RecurrentFacts(4 * heads * head_dim, heads * head_dim, heads * head_dim**2)


def dense(config: Fields, *keys: str, matrices: float = 3.0) -> DenseFacts:
    """Return a dense block as wide as the first of ``keys`` says."""
    return DenseFacts(config.whole(*(keys or ("intermediate_size",))), matrices)


def experts(
    config: Fields, *keys: str, shared: float = 0.0, matrices: float = 3.0, narrow: float = 0.0
) -> ExpertsFacts:
    """Return routed experts as wide as the first of ``keys`` says, working ``narrow`` features wide."""
    many = config.whole(*EXPERTS, high=10**6)
    topk = config.whole(*TOPK, high=10**6)
    if topk > many:
        config.refuse(config.has(*TOPK) or TOPK[0], f"= {topk:g} must not exceed the {many:g} experts")
    width = config.whole(*(keys or ("moe_intermediate_size", "intermediate_size")))
    return ExpertsFacts(many, topk, width, shared, matrices, narrow)


def shared_width(config: Fields) -> float:
    """Return the hidden width of DeepSeek's shared experts, each as wide as a routed one."""
    shared = config.whole("n_shared_experts", "num_shared_experts", default=0.0, low=0)
    return shared * config.whole("moe_intermediate_size") if shared else 0.0


def windows_of(config: Fields, layers: int, full: Callable[[int], bool], width: str = "sliding_window") -> list[float]:
    """Return how far back each layer sees: by ``layer_types`` where given, else ``full`` says which see everything."""
    if not config.has(width):
        return [inf] * layers
    window = config.whole(width)
    known = {"full_attention": inf, "sliding_attention": window, "chunked_attention": window}
    types = config.per_layer(layers, "layer_types", allowed=tuple(known))
    if types is None:
        return [inf if full(layer) else window for layer in range(layers)]
    return [known[kind] for kind in types]


def sparse_layers(config: Fields, layers: int) -> list[bool]:
    """Return which layers have experts, as DeepSeek's files and their heirs say it."""
    if not config.has(*EXPERTS, *TOPK, "moe_intermediate_size"):
        return [False] * layers
    types = config.per_layer(layers, "mlp_layer_types", allowed=("dense", "sparse"))
    if types is not None:
        return [kind != "dense" for kind in types]
    if isinstance(config.fields.get("moe_layer_freq"), list):
        return [bool(one) for one in config.per_layer(layers, "moe_layer_freq", allowed=(0, 1)) or ()]
    first = config.whole("first_k_dense_replace", default=0.0, low=0)
    stride = config.whole("moe_layer_freq", default=1.0)
    return [layer >= first and layer % stride == 0 for layer in range(layers)]

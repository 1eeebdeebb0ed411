"""The families of models on the Hugging Face hub: what the fields of each ``model_type`` say of its layers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

from .architectures import AttentionFacts, DenseFacts, ExpertsFacts, Feedforward, Mixer, RecurrentFacts
from .blocks import (
    WIDTH,
    attention,
    delta_rule,
    dense,
    even_share,
    experts,
    latent,
    lightning,
    mamba,
    shared_width,
    sparse_layers,
    windows_of,
)
from .json_fields import Fields

Kind = tuple[Mixer | None, Feedforward | None]
Kinds = Callable[[Fields, int], list[Kind]]


@dataclass(frozen=True)
class Family:
    """How one ``model_type`` is read: its kind of each layer, and what its class takes an absent field to be."""

    kinds: Kinds
    defaults: dict[str, Any] = field(default_factory=dict)
    tied: bool = False
    parallel: bool = False


def _every(step_key: str, step: int) -> Callable[[Fields], Callable[[int], bool]]:
    """Return the rule that every ``step``-th layer sees everything; the file may say another step."""

    def rule(config: Fields) -> Callable[[int], bool]:
        stride = config.whole(step_key, default=float(step))
        return lambda layer: (layer + 1) % stride == 0

    return rule


def _plain(matrices: float = 3.0, *width: str) -> Kinds:
    return lambda config, layers: [(attention(config), dense(config, *width, matrices=matrices))] * layers


def _sliding(rule: Callable[[Fields], Callable[[int], bool]], matrices: float = 3.0) -> Kinds:
    def kinds(config: Fields, layers: int) -> list[Kind]:
        block = dense(config, matrices=matrices)
        return [(attention(config, window), block) for window in windows_of(config, layers, rule(config))]

    return kinds


def _never(config: Fields) -> Callable[[int], bool]:
    return lambda layer: False


def _qwen_rule(config: Fields) -> Callable[[int], bool]:
    """Qwen names a window in every file and uses it only where told to, from a layer on."""
    if not config.flag("use_sliding_window", False):
        return lambda layer: True
    first = config.whole("max_window_layers", default=28.0, low=0)
    return lambda layer: layer < first


def _four_times(config: Fields, layers: int) -> list[Kind]:
    """GPT-2, BLOOM, GPT-J: a plain block, four times the width where the file gives none."""
    width = config.whole("n_inner", "intermediate_size", "ffn_hidden_size", default=4 * config.whole(*WIDTH))
    return [(attention(config), DenseFacts(width, 2.0))] * layers


def _falcon(config: Fields, layers: int) -> list[Kind]:
    if not config.flag("new_decoder_architecture", False):
        one = {"num_kv_heads": 1} if config.flag("multi_query", True) else {"num_kv_heads": None}
        config = Fields(config.file, config.table, {**config.fields, **one})
    return _four_times(config, layers)


def _mpt(config: Fields, layers: int) -> list[Kind]:
    heads, width = config.whole("n_heads"), config.whole("d_model")
    kv_heads = config.inner("attn_config").whole("kv_n_heads", default=heads)
    head_dim = even_share(config, heads)
    mixer = AttentionFacts(heads, kv_heads, head_dim, head_dim)
    return [(mixer, DenseFacts(width * config.whole("expansion_ratio", default=4.0), 2.0))] * layers


def _dbrx(config: Fields, layers: int) -> list[Kind]:
    heads = config.whole("n_heads")
    head_dim = even_share(config, heads)
    mixer = AttentionFacts(heads, config.inner("attn_config").whole("kv_n_heads"), head_dim, head_dim)
    return [(mixer, experts(config.inner("ffn_config"), "ffn_hidden_size"))] * layers


def _mixtral(config: Fields, layers: int) -> list[Kind]:
    """Experts in every layer: Mixtral, Phi MoE, gpt-oss, OLMoE."""
    windows = windows_of(config, layers, lambda layer: layer % 2 == 1 and config.fields.get("model_type") == "gpt_oss")
    return [(attention(config, window), experts(config, "intermediate_size")) for window in windows]


def _qwen_moe(config: Fields, layers: int) -> list[Kind]:
    shared = config.whole("shared_expert_intermediate_size", default=0.0, low=0)
    stride = config.whole("decoder_sparse_step", default=1.0)
    named = config.chosen(layers, "mlp_only_layers")
    out: list[Kind] = []
    for layer, mixer in enumerate(_qwen_mixers(config, layers)):
        sparse = layer not in named and (layer + 1) % stride == 0
        out.append((mixer, experts(config, shared=shared) if sparse else dense(config)))
    return out


def _qwen_dense(config: Fields, layers: int) -> list[Kind]:
    block = dense(config)
    return [(mixer, block) for mixer in _qwen_mixers(config, layers)]


def _qwen_mixers(config: Fields, layers: int) -> list[Mixer]:
    """Attention, in Qwen3-Next and later gated and only in every fourth layer, between layers of the delta rule."""
    if not config.has("linear_num_key_heads"):
        return [attention(config, window) for window in windows_of(config, layers, _qwen_rule(config))]
    stride = config.whole("full_attention_interval", default=4.0)
    types = config.per_layer(layers, "layer_types", allowed=("full_attention", "linear_attention"))
    full = [kind == "full_attention" for kind in types or ()] or [(n + 1) % stride == 0 for n in range(layers)]
    gated = config.flag("attn_output_gate", True)
    return [attention(config, gated=gated) if one else delta_rule(config) for one in full]


def _deepseek(config: Fields, layers: int) -> list[Kind]:
    """Latent attention and fine-grained experts: DeepSeek, Kimi K2, GLM-5."""
    mixer = latent(config)
    return [(mixer, _fine_block(config, sparse)) for sparse in sparse_layers(config, layers)]


def _glm_moe(config: Fields, layers: int) -> list[Kind]:
    mixer = attention(config)
    return [(mixer, _fine_block(config, sparse)) for sparse in sparse_layers(config, layers)]


def _fine_block(config: Fields, sparse: bool) -> Feedforward:
    return experts(config, shared=shared_width(config)) if sparse else dense(config)


def _kimi_linear(config: Fields, layers: int) -> list[Kind]:
    """Kimi Linear and K3: delta attention with a decay per channel, latent attention in the layers named."""
    how = config.inner("linear_attn_config")
    heads, head_dim = how.whole("num_heads"), how.whole("head_dim")
    wide = heads * head_dim
    gate = wide if how.flag("use_full_rank_gate", False) else head_dim
    past = how.whole("short_conv_kernel_size", default=4.0) - 1
    delta = RecurrentFacts(3 * wide + gate + head_dim + heads, wide, wide * head_dim + 3 * wide * past)
    full_mixer = latent(config)
    if config.flag("mla_use_output_gate", False):
        full_mixer = replace(full_mixer, gate_width=full_mixer.heads * full_mixer.value_dim)
    full = how.chosen(layers + 1, "full_attn_layers")  # counted from one
    narrow = config.whole("routed_expert_hidden_size", default=0.0, low=0)
    out: list[Kind] = []
    for layer, sparse in enumerate(sparse_layers(config, layers), 1):
        block = experts(config, shared=shared_width(config), narrow=narrow) if sparse else dense(config)
        out.append((full_mixer if layer in full else delta, block))
    return out


def _llama4(config: Fields, layers: int) -> list[Kind]:
    stride = config.whole("interleave_moe_layer_step", default=1.0)
    named = config.chosen(layers, "moe_layers")
    windows = windows_of(config, layers, lambda layer: (layer + 1) % 4 == 0, "attention_chunk_size")
    width = config.whole("intermediate_size")
    out: list[Kind] = []
    for layer, window in enumerate(windows):
        sparse = layer in named if named else (layer + 1) % stride == 0
        routed = experts(config, "intermediate_size", shared=width)
        out.append((attention(config, window), routed if sparse else dense(config, "intermediate_size_mlp")))
    return out


def _gemma4(config: Fields, layers: int) -> list[Kind]:
    if config.whole("hidden_size_per_layer_input", default=0.0, low=0):
        config.refuse("hidden_size_per_layer_input", "is not 0: embeddings per layer are not modelled")
    local = attention(config, config.whole("sliding_window"))
    head_dim = config.whole("global_head_dim", default=local.key_dim)
    kv_heads = config.whole("num_global_key_value_heads", default=local.kv_heads)
    wide = AttentionFacts(local.heads, kv_heads, head_dim, head_dim)
    block: Feedforward = dense(config)
    if config.flag("enable_moe_block", False):  # beside the dense block, which every token visits
        block = experts(config, shared=block.width)
    full = windows_of(config, layers, _every("sliding_window_pattern", 6)(config))
    return [(wide if window == inf else local, block) for window in full]


def _minimax(config: Fields, layers: int) -> list[Kind]:
    """MiniMax: 0 in its list is lightning attention, 1 is attention; M2 and M3 have attention alone."""
    types = config.per_layer(
        layers, "attn_type_list", "layer_types", allowed=(0, 1, "full_attention", "linear_attention")
    )
    if types is None:
        types = [1] * layers
    shared = config.whole("shared_intermediate_size", default=0.0, low=0)
    block = experts(config, "intermediate_size", shared=shared)
    sparse = sparse_layers(config, layers)
    out: list[Kind] = []
    for kind, one in zip(types, sparse, strict=True):
        mixer = lightning(config) if kind in (0, "linear_attention") else attention(config)
        out.append((mixer, block if one else dense(config, "dense_intermediate_size")))
    return out


def _nemotron_h(config: Fields, layers: int) -> list[Kind]:
    """One mixer or one feed-forward block to a layer, as a string or a list of names says."""
    makers: dict[str, Callable[[Fields], Kind]] = {
        "M": lambda c: (mamba(c), None), "mamba": lambda c: (mamba(c), None),
        "*": lambda c: (attention(c), None), "attention": lambda c: (attention(c), None),
        "-": lambda c: (None, dense(c, matrices=2.0)), "mlp": lambda c: (None, dense(c, matrices=2.0)),
        "E": lambda c: (None, _nemotron_experts(c)), "moe": lambda c: (None, _nemotron_experts(c)),
    }  # fmt: skip
    pattern = config.per_layer(layers, "hybrid_override_pattern", "layers_block_type", allowed=tuple(makers))
    if pattern is None:
        config.refuse("hybrid_override_pattern", "is missing: a letter of M, *, -, E for each layer is needed")
    made = {one: makers[one](config) for one in dict.fromkeys(pattern)}
    return [made[one] for one in pattern]


def _nemotron_experts(config: Fields) -> ExpertsFacts:
    shared = config.whole("n_shared_experts", default=1.0, low=0)
    shared *= config.whole("moe_shared_expert_intermediate_size", default=0.0, low=0)
    return experts(config, shared=shared, matrices=2.0, narrow=config.whole("moe_latent_size", default=0.0, low=0))


_INDEXER = {"index_head_dim": 128, "index_topk": 2048}
_GEMMA3 = {
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 262208, "sliding_window": 4096,
}  # fmt: skip
FAMILIES: dict[str, Family] = {
    "llama": Family(_plain()),
    "mistral": Family(_sliding(_never), {"sliding_window": 4096}),
    "mixtral": Family(_mixtral),
    "qwen2": Family(_sliding(_qwen_rule), {"sliding_window": 4096}),
    "qwen2_moe": Family(_qwen_moe, {"sliding_window": 4096}),
    "qwen3": Family(_sliding(_qwen_rule), {"sliding_window": 4096, "head_dim": 128}),
    "qwen3_moe": Family(_qwen_moe, {"sliding_window": 4096}),
    "qwen3_next": Family(_qwen_moe),
    "qwen3_5_text": Family(_qwen_dense),
    "qwen3_5_moe_text": Family(_qwen_moe),
    "deepseek_v2": Family(_deepseek),
    "deepseek_v3": Family(_deepseek),
    "deepseek_v32": Family(_deepseek, {**_INDEXER, "index_n_heads": 64}),
    "kimi_k2": Family(_deepseek),
    "kimi_linear": Family(_kimi_linear),
    "glm": Family(_plain()),
    "glm4": Family(_plain()),
    "glm4_moe": Family(_glm_moe),
    "glm4_moe_lite": Family(_deepseek),
    "glm_moe_dsa": Family(_deepseek, {**_INDEXER, "index_n_heads": 32}),
    "gpt_oss": Family(_mixtral, {"head_dim": 64, "sliding_window": 128}),
    "gemma": Family(_plain(), {"head_dim": 256}, tied=True),
    "gemma2": Family(
        _sliding(lambda config: lambda layer: layer % 2 == 1), {"head_dim": 256, "sliding_window": 4096}, tied=True
    ),
    "gemma3_text": Family(_sliding(_every("sliding_window_pattern", 6)), _GEMMA3, tied=True),
    "gemma4_text": Family(_gemma4, tied=True),
    "llama4_text": Family(_llama4, {"attention_chunk_size": 8192, "head_dim": 128}),
    "phi": Family(_plain(2.0), parallel=True),
    "phi3": Family(_sliding(_never)),
    "phimoe": Family(_mixtral),
    "olmo2": Family(_plain()),
    "olmo3": Family(_sliding(_every("sliding_window_pattern", 4)), {"sliding_window": 4096}),
    "olmoe": Family(_mixtral),
    "granite": Family(_plain()),
    "smollm3": Family(_plain(), tied=True),
    "starcoder2": Family(_sliding(_never, 2.0), tied=True),
    "cohere": Family(_plain(), tied=True, parallel=True),
    "cohere2": Family(
        _sliding(_every("sliding_window_pattern", 4)), {"sliding_window": 4096}, tied=True, parallel=True
    ),
    "minimax": Family(_minimax),
    "minimax_text_01": Family(_minimax),
    "minimax_m2": Family(_minimax),
    "minimax_m3": Family(_minimax),
    "minimax_m3_vl": Family(_minimax),
    "nemotron": Family(_plain(2.0)),
    "nemotron_h": Family(_nemotron_h),
    "dbrx": Family(_dbrx),
    "falcon": Family(_falcon, tied=True, parallel=True),
    "mpt": Family(_mpt, tied=True),
    "gpt2": Family(_four_times, tied=True),
    "gptj": Family(_four_times, parallel=True),
    "gpt_neox": Family(_plain(2.0), parallel=True),
    "opt": Family(_plain(2.0, "ffn_dim"), tied=True),
    "bloom": Family(_four_times, tied=True),
}
